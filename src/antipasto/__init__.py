"""AntiPaSTO and its peers: parameter-efficient adapters for any torch model.

model = antipasto.attach(model, antipasto.AntiPaSTOConfig(r=256, rotate_basis="V"))
optimizer = torch.optim.AdamW(antipasto.trainable_parameters(model).values(), lr=5e-3)
...
antipasto.save(model, "adapter.safetensors")
"""

from .adapter import attach, attachment, detach, disabled, merge, trainable_parameters, unmerge
from .checkpoint import load, read_config, save
from .config import ALIASES, CONFIGS, AdapterConfig, AdapterError, register_config, resolve
from .frozen_basis import FrozenBasisConfig, FrozenBasisVariant
from .targets import find_targets
from .variant import REGISTRY, ParamSpec, Variant, added_macs, register, trained_parameters
from .variants.antipasto import AntiPaSTOConfig
from .variants.lora import LoRAConfig

__all__ = [
    "ALIASES",
    "CONFIGS",
    "REGISTRY",
    "AdapterConfig",
    "AdapterError",
    "AntiPaSTOConfig",
    "FrozenBasisConfig",
    "FrozenBasisVariant",
    "LoRAConfig",
    "ParamSpec",
    "Variant",
    "added_macs",
    "attach",
    "attachment",
    "detach",
    "disabled",
    "find_targets",
    "load",
    "merge",
    "read_config",
    "register",
    "register_config",
    "resolve",
    "save",
    "trainable_parameters",
    "trained_parameters",
    "unmerge",
]
