"""``python -m dlgm.train``: train a diffusion model on images from a shell; see ``dlgm.training.__main__``."""

import sys

from .training.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
