"""The one error class that commands print as a sentence, without a traceback."""

from __future__ import annotations

__all__ = ["LskdError"]


class LskdError(Exception):
    """Something the caller can put right: the message names it, what was found, what was expected, what to do."""
