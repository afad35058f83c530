"""``python -m cosfs`` is the ``cosfs`` command."""

import sys

from cosfs.cli import main

if __name__ == "__main__":
    sys.exit(main())
