"""Every public name of the library, in one place: `import antipasto` gives these."""

import antipasto.configs as configs  # `from . import` would ask this module for it

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
from .configs import *  # noqa: F403
from .description import Description, describe
from .frozen_basis import FrozenBasisVariant
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
    register,
)

__all__ = [
    "REGISTRY",
    "Contrast",
    "Description",
    "Factors",
    "FrozenBasisVariant",
    "InputVariant",
    "Layer",
    "ParamSpec",
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
    "routed",
    "save",
    "save_peft",
    "set_coeff",
    "tensor_checksums",
    "trainable_parameters",
    "unmerge",
    "zeroed",
]
__all__ += configs.__all__
