"""A tiny model and the configs that claims about every variant are tested with."""

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
        return self.lin2(torch.tanh(self.lin1(x)))


# The settings of a variant that change what it computes, beyond its defaults.
SETTINGS: dict[str, list[dict]] = {
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
NEEDED: dict[str, dict] = {
    "antipasto_arrow": {"block": 3},
    "antipasto_dplr": {"lora_rank": 2},
    "road": {"group_size": 4},
}


def configs(r: int = 8) -> list[antipasto.AdapterConfig]:
    """Every registered variant, with each setting that changes what it computes."""
    made = []
    for name, cls in antipasto.CONFIGS.items():
        for setting in [{}, *SETTINGS.get(name, [])]:
            made.append(cls(**{"r": r, "target_names": ALL} | NEEDED.get(name, {}) | setting))
    return made


def trained_configs(r: int = 8) -> list[antipasto.AdapterConfig]:
    """Those of `configs` that train anything."""
    return [cfg for cfg in configs(r) if antipasto.REGISTRY[cfg.variant].trains]


def name_of(cfg: antipasto.AdapterConfig) -> str:
    default = antipasto.CONFIGS[cfg.variant]
    told = {k: v for k, v in cfg.to_dict().items() if k not in ("variant", "target_names", "exclude_names", "layers")}
    told = {k: v for k, v in told.items() if v != getattr(default, k) and k not in (*NEEDED.get(cfg.variant, {}), "r")}
    return "-".join([cfg.variant, *map(str, told.values())])


def attach(model: nn.Module, cfg: antipasto.AdapterConfig, seed: int = 0) -> nn.Module:
    """Attach with calibration data at hand, as a variant may need them."""
    width = next(m.in_features for m in model.modules() if isinstance(m, nn.Linear))
    dtype = next(model.parameters()).dtype
    generator = torch.Generator().manual_seed(seed)
    data: object = [torch.randn(4, 16, width, generator=generator).to(dtype) for _ in range(2)]
    if antipasto.REGISTRY[cfg.variant].contrastive:
        data = antipasto.Contrast(data, [torch.randn(4, 16, width, generator=generator).to(dtype)])
    return antipasto.attach(model, cfg, data, generator=generator)


def randomise(model: nn.Module, scale: float = 0.3, seed: int = 1) -> None:
    """Put the trained parameters somewhere that is not their initial value."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in antipasto.trainable_parameters(model).items():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)
        if name.endswith("lora_alpha"):  # a share: below 0 it would be clamped, and do nothing
            parameter.data.abs_()
