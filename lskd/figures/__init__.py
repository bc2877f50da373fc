"""Figures: drawing only, from records and evidence. One module a figure; each offers functions that publish it."""
