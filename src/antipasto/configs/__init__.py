"""The settings of every variant that comes with the library: fields, defaults, and what is refused.

Nothing here imports torch, so that a command line reads and refuses settings at once. What a variant computes is in its
own file, variants/<name>.py; one that is new can have its config there, too, beside its equation.
"""

from pathlib import Path

from ..config import ALIASES, CONFIGS, AdapterConfig, AdapterError, register_config, resolve
from .frozen_basis import (
    AntiPaSTOAblateConfig,
    AntiPaSTOArrowConfig,
    AntiPaSTOASVDConfig,
    AntiPaSTOConfig,
    AntiPaSTOCorDAConfig,
    AntiPaSTODPLRConfig,
    AntiPaSTOGainConfig,
    DeltaSConfig,
    FrozenBasisConfig,
    LoRAXSConfig,
)
from .peers import (
    DeLoRAConfig,
    DoRAConfig,
    EVAConfig,
    HRAConfig,
    IA3Config,
    IA3FFConfig,
    LoRAConfig,
    PiSSAConfig,
    RoadConfig,
    SSpaceConfig,
)

__all__ = [
    "ALIASES",
    "CONFIGS",
    "AdapterConfig",
    "AdapterError",
    "AntiPaSTOASVDConfig",
    "AntiPaSTOAblateConfig",
    "AntiPaSTOArrowConfig",
    "AntiPaSTOConfig",
    "AntiPaSTOCorDAConfig",
    "AntiPaSTODPLRConfig",
    "AntiPaSTOGainConfig",
    "DeLoRAConfig",
    "DeltaSConfig",
    "DoRAConfig",
    "EVAConfig",
    "FrozenBasisConfig",
    "HRAConfig",
    "IA3Config",
    "IA3FFConfig",
    "LoRAConfig",
    "LoRAXSConfig",
    "PiSSAConfig",
    "RoadConfig",
    "SSpaceConfig",
    "register_config",
    "resolve",
]


def every_variant_is_known() -> bool:
    """Whether CONFIGS has every file of variants/; a new one says its config itself, which imports torch."""
    files = (Path(__file__).parents[1] / "variants").glob("*.py")
    return {path.stem for path in files} <= {"__init__", *CONFIGS}
