"""``python -m paper``: all commands in a checkout that is not installed, beside whatever PyTorch is there."""

from __future__ import annotations

import sys

from lskd.cli import main
from paper.commands import add

if __name__ == "__main__":
    sys.exit(main(more=[add]))
