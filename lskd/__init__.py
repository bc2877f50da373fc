"""Logit standardization in knowledge distillation: losses, models, trainer, figures.

``import lskd`` loads nothing else; ``lskd.losses`` and ``lskd.models`` need torch alone.
"""

__version__ = "0.1.0"
