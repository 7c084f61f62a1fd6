"""A tiny model and the configs that claims about every variant are tested with."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import antipasto

ALL = ("lin.*",)


class Tiny(nn.Module):
    """Two linear layers of odd, unequal shapes around a nonlinearity; one with a bias, one without."""

    def __init__(self, d_in: int = 20, d_hidden: int = 28, d_out: int = 16) -> None:
        super().__init__()
        self.lin1 = nn.Linear(d_in, d_hidden)
        self.lin2 = nn.Linear(d_hidden, d_out, bias=False)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        y: torch.Tensor = self.lin2(torch.tanh(self.lin1(x)))
        return y


# The settings of a variant that change what it computes, beyond its defaults.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "antipasto": [
        {"rotate_basis": "U"},
        {"rotate_basis": "both"},
        {"rotate_basis": "none"},
        {"basis": "wanda"},
        {"block_size": 2},
    ],
    "antipasto_gain": [{"coeff": 0.5}, {"suppress_only": True}, {"basis": "wanda", "act_pool": "mean_abs"}],
    "antipasto_ablate": [{"k": 3}, {"cov_orient": True}],
    "antipasto_arrow": [{"basis": "asvd"}],
    "lora_xs": [{"basis": "corda"}, {"alpha": 9.0}],
    "delta_s": [{"r": None}],
    "road": [{"road_variant": "road_2"}, {"road_variant": "road_4"}],
}
NEEDED: dict[str, dict[str, Any]] = {
    "antipasto_arrow": {"block": 3},
    "antipasto_dplr": {"lora_rank": 2},
    "road": {"group_size": 4},
}


def configs(r: int = 8) -> list[antipasto.AdapterConfig]:
    """Every registered variant, with each setting that changes what it computes."""
    every: list[antipasto.AdapterConfig] = []
    for name, cls in antipasto.CONFIGS.items():
        for setting in [{}, *SETTINGS.get(name, [])]:
            values: Mapping[str, Any] = {"r": r, "target_names": ALL} | NEEDED.get(name, {}) | setting
            every.append(cls(**values))
    return every


def trained_configs(r: int = 8) -> list[antipasto.AdapterConfig]:
    """Those of `configs` that train anything."""
    return [cfg for cfg in configs(r) if cfg.trains]


def name_of(cfg: antipasto.AdapterConfig) -> str:
    """The variant, and the values that are neither its defaults nor the same in all of `configs`."""
    default = antipasto.CONFIGS[cfg.variant]
    common = ("variant", "target_names", "exclude_names", "layers", "r", *NEEDED.get(cfg.variant, {}))
    values = {k: v for k, v in cfg.to_dict().items() if k not in common and v != getattr(default, k)}
    return "-".join([cfg.variant, *map(str, values.values())])


def attach(
    model: nn.Module, cfg: antipasto.AdapterConfig, seed: int = 0, trained: torch.dtype = torch.float32
) -> nn.Module:
    """Attach with random calibration data of the kind that the variant needs, and parameters of the dtype `trained`."""
    d_in = next(m.in_features for m in model.modules() if isinstance(m, nn.Linear))
    dtype = next(model.parameters()).dtype
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randn(4, 16, d_in, generator=generator).to(dtype) for _ in range(2)]
    if antipasto.REGISTRY[cfg.variant].contrastive:
        contrast = antipasto.Contrast(batches, [torch.randn(4, 16, d_in, generator=generator).to(dtype)])
        return antipasto.attach(model, cfg, contrast, generator=generator, dtype=trained)
    return antipasto.attach(model, cfg, batches, generator=generator, dtype=trained)


def randomise(model: nn.Module, scale: float = 0.3, seed: int = 1) -> None:
    """Put the trained parameters somewhere that is not their initial value."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in antipasto.trainable_parameters(model).items():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)
        if name.endswith("lora_alpha"):  # clamped at 0: a negative one would do nothing
            parameter.data.abs_()
