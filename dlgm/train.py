"""``python -m dlgm.train``: train a diffusion model on images from a shell; see ``dlgm.training.__main__``."""

import sys

try:
    from .training.__main__ import main
except KeyboardInterrupt:  # the libraries take seconds to load
    sys.exit("stopped")

if __name__ == "__main__":
    sys.exit(main())
