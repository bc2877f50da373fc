"""paper computes: what is published, what was run here, what is left to run, and what the records say.

Numbers and text; nothing is drawn here and no page is known. It stands on ``lskd`` alone.
"""
