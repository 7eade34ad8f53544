"""Entry point of ``python -m edgewise``, which is the ``edgewise`` command."""

import sys

from edgewise.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
