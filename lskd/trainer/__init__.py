"""Training: a cohort of students in lockstep, checkpoints, records. Start with :func:`lskd.trainer.run.train`."""
