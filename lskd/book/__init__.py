"""The book: assembled from chapters and executed notebooks, built, and its pages completed."""

from lskd.book.assembly import assemble, bokeh_script, build, chapters, included, pages, run_jupyter_book, with_facts

__all__ = ["assemble", "bokeh_script", "build", "chapters", "included", "pages", "run_jupyter_book", "with_facts"]
