"""book shows: chapters, executed notebooks and figures in, pages out; exercises, search, README.

What is said lies in ``chapters/``, the pages' scripts and styles in ``_static/``. No number is computed and
nothing drawn here.
"""
