"""Figures that a reader moves: Python prepares data and plots, the script of the same name computes what is shown."""
