"""figures draws: one file a figure or table, from numbers of ``paper`` and evidence of ``lskd``.

``drawn/`` holds the committed pictures, each with its data and a sidecar that says what it was drawn from. Nothing here
knows the book's pages or runs notebooks.
"""
