"""lskd trains: losses, networks, data sets, recipes and the trainer; the only package in the wheel.

What it offers by name loads when it is asked for, so ``import lskd`` is instant; ``lskd.losses``, ``lskd.objectives``
and ``lskd.models`` need torch alone. Nothing here knows of published numbers (``paper``), drawing (``figures``) or
pages (``book``).
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lskd.data import load_dataset
    from lskd.losses import CurriculumTemperature, dkd_loss, kd_loss, mlkd_terms, standardize
    from lskd.models import create_model, list_models, load_checkpoint, save_checkpoint
    from lskd.objectives import create_objective
    from lskd.recipes import load_recipe
    from lskd.trainer.run import train

__version__ = "0.1.0"

_PLACES = {
    "lskd.losses": ("CurriculumTemperature", "dkd_loss", "kd_loss", "mlkd_terms", "standardize"),
    "lskd.objectives": ("create_objective",),
    "lskd.models": ("create_model", "list_models", "load_checkpoint", "save_checkpoint"),
    "lskd.data": ("load_dataset",),
    "lskd.recipes": ("load_recipe",),
    "lskd.trainer.run": ("train",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
__all__ = [
    "CurriculumTemperature", "__version__", "create_model", "create_objective", "dkd_loss", "kd_loss", "list_models",
    "load_checkpoint", "load_dataset", "load_recipe", "mlkd_terms", "save_checkpoint", "standardize", "train",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'lskd' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
