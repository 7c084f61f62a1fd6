"""One file a variant. Every module here is imported, so a new file is a new variant."""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
