"""Deep latent generative models: every formula of the course as one named, tested function.

``import dlgm`` is light: a submodule is imported when it is first used, so ``dlgm.data.load("mnist")`` works
without further imports and drawing libraries load only when something is drawn.
"""

import importlib
import pkgutil

__version__ = "0.1.0"
__all__ = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'dlgm' has no attribute {name!r}; its modules are {', '.join(__all__)}")


def __dir__():
    return sorted([*globals(), *__all__])
