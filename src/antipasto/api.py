"""Every public name of the library, in one place: `import antipasto` gives these."""

from .adapter import (
    add_tensors,
    attach,
    detach,
    disabled,
    recalibrate,
    set_coeff,
    trainable_parameters,
)
from .attachment import attachment
from .calibration import Contrast
from .checkpoint import load, read_config, save
from .config import ALIASES, CONFIGS, AdapterConfig, AdapterError, register_config, resolve
from .description import Description, describe
from .frozen_basis import FrozenBasisConfig, FrozenBasisVariant
from .layer import Layer
from .merging import merge, merge_error, merge_refusal, unmerge
from .peft_format import change_as_product, save_peft
from .routing import reference_logprobs, routed, zeroed
from .targets import find_targets, kinds_left_out, kinds_of
from .tensor_bytes import tensor_checksums
from .variant import (
    REGISTRY,
    Factors,
    InputVariant,
    ParamSpec,
    Variant,
    added_macs,
    count_parameters,
    has_factors,
    register,
)
from .variants.antipasto import AntiPaSTOConfig
from .variants.antipasto_ablate import AntiPaSTOAblateConfig
from .variants.antipasto_arrow import AntiPaSTOArrowConfig
from .variants.antipasto_asvd import AntiPaSTOASVDConfig
from .variants.antipasto_corda import AntiPaSTOCorDAConfig
from .variants.antipasto_dplr import AntiPaSTODPLRConfig
from .variants.antipasto_gain import AntiPaSTOGainConfig
from .variants.delora import DeLoRAConfig
from .variants.delta_s import DeltaSConfig
from .variants.dora import DoRAConfig
from .variants.eva import EVAConfig
from .variants.hra import HRAConfig
from .variants.ia3 import IA3Config
from .variants.ia3_ff import IA3FFConfig
from .variants.lora import LoRAConfig
from .variants.lora_xs import LoRAXSConfig
from .variants.pissa import PiSSAConfig
from .variants.road import RoadConfig
from .variants.sspace import SSpaceConfig

__all__ = [
    "ALIASES",
    "CONFIGS",
    "REGISTRY",
    "AdapterConfig",
    "AdapterError",
    "AntiPaSTOASVDConfig",
    "AntiPaSTOAblateConfig",
    "AntiPaSTOArrowConfig",
    "AntiPaSTOConfig",
    "AntiPaSTOCorDAConfig",
    "AntiPaSTODPLRConfig",
    "AntiPaSTOGainConfig",
    "Contrast",
    "DeLoRAConfig",
    "DeltaSConfig",
    "Description",
    "DoRAConfig",
    "EVAConfig",
    "Factors",
    "FrozenBasisConfig",
    "FrozenBasisVariant",
    "HRAConfig",
    "IA3Config",
    "IA3FFConfig",
    "InputVariant",
    "Layer",
    "LoRAConfig",
    "LoRAXSConfig",
    "ParamSpec",
    "PiSSAConfig",
    "RoadConfig",
    "SSpaceConfig",
    "Variant",
    "add_tensors",
    "added_macs",
    "attach",
    "attachment",
    "change_as_product",
    "count_parameters",
    "describe",
    "detach",
    "disabled",
    "find_targets",
    "has_factors",
    "kinds_left_out",
    "kinds_of",
    "load",
    "merge",
    "merge_error",
    "merge_refusal",
    "read_config",
    "recalibrate",
    "reference_logprobs",
    "register",
    "register_config",
    "resolve",
    "routed",
    "save",
    "save_peft",
    "set_coeff",
    "tensor_checksums",
    "trainable_parameters",
    "unmerge",
    "zeroed",
]
