"""``python -m lskd``, which ``torchrun … -m lskd train …`` starts several times."""

import sys

from lskd.cli import main

if __name__ == "__main__":
    sys.exit(main())
