"""Trains cohorts of students behind one teacher: fast, resumable, the same bits alone or together."""

# Part of what a run is: raise it when the same recipe, seed and device give other bits than before.
# tests/lskd/test_trainer_bits.py says when that is.
TRAINER = 1
