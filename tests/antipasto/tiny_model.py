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


def configs(r: int = 8) -> list[antipasto.AdapterConfig]:
    """Every registered variant, with each setting that changes what it computes."""
    made: list[antipasto.AdapterConfig] = []
    for name, cls in antipasto.CONFIGS.items():
        if name == "antipasto":
            for basis in ("V", "U", "both", "none"):
                made.append(cls(r=r, target_names=ALL, rotate_basis=basis))
            made.append(cls(r=r, target_names=ALL, basis="wanda"))
            made.append(cls(r=r, target_names=ALL, block_size=2))
        else:
            made.append(cls(r=r, target_names=ALL))
    return made


def name_of(cfg: antipasto.AdapterConfig) -> str:
    given = {k: v for k, v in cfg.to_dict().items() if k in ("rotate_basis", "basis", "block_size")}
    return "-".join([cfg.variant, *map(str, given.values())])


def attach(model: nn.Module, cfg: antipasto.AdapterConfig, seed: int = 0) -> nn.Module:
    """Attach with calibration data at hand, as a variant may need them."""
    width = next(m.in_features for m in model.modules() if isinstance(m, nn.Linear))
    dtype = next(model.parameters()).dtype
    generator = torch.Generator().manual_seed(seed)
    data = [torch.randn(4, 16, width, generator=generator).to(dtype) for _ in range(2)]
    return antipasto.attach(model, cfg, data, generator=generator)


def randomise(model: nn.Module, scale: float = 0.3, seed: int = 1) -> None:
    """Put the trained parameters somewhere that is not their initial value."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in antipasto.trainable_parameters(model).values():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)
