"""The book's search: an index of the built pages, and the scripts that look in it."""
