"""``python -m spoken_digits`` is the command ``spoken-digits``."""

import sys

from spoken_digits.cli import main

if __name__ == "__main__":
    sys.exit(main())
