"""AntiPaSTO and its peers: parameter-efficient adapters for any torch model.

model = antipasto.attach(model, antipasto.AntiPaSTOConfig(r=256, rotate_basis="V"))
optimizer = torch.optim.AdamW(antipasto.trainable_parameters(model).values(), lr=5e-3)
...
antipasto.save(model, "adapter.safetensors")
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import *  # noqa: F403
    from .api import __all__ as __all__
    from .configs import *  # noqa: F403
else:
    # Names come at their first use, those of settings without torch, which takes a second or two to import
    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name.startswith("__") and name != "__all__":  # what Python itself looks for
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        configs = import_module(".configs", __name__)
        if name in configs.__all__ and configs.every_variant_is_known():
            globals().update({public: getattr(configs, public) for public in configs.__all__})
            return globals()[name]
        api = import_module(".api", __name__)
        globals().update({public: getattr(api, public) for public in (*api.__all__, "__all__")})
        if name not in globals():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals()[name]

    def __dir__() -> list[str]:
        from .api import __all__ as names

        return sorted({*globals(), *names})


def _installed_version() -> str:
    """The version of the distribution that this package is a part of."""
    try:
        return version("antipasto-adapters")
    except PackageNotFoundError:
        return "0+unknown"  # imported from a source tree that was never installed


__version__ = _installed_version()
