"""Bytes that autograd keeps between forward and backward, on a stack of 1024x3072 layers at 1024 tokens."""

import copy
import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

import antipasto
from antipasto.rotation import rotation_minus_identity
from antipasto_bench.run.costs import kept_for_backward
from antipasto_bench.speed.harness import Cell, Claim, record

TOKENS, WIDE, NARROW, R = 1024, 3072, 1024, 256
LINEAR = ("0", "2")


def stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(NARROW, WIDE, bias=False), nn.SiLU(), nn.Linear(WIDE, NARROW, bias=False))


def kept(model: nn.Module) -> int:
    x = torch.randn(TOKENS, NARROW, requires_grad=True)
    return kept_for_backward(lambda: model(x), [x, *model.parameters(), *model.buffers()])


class RotatedBasis(nn.Module):
    """The same adapter as it is usually written: x W_res^T + (((S + delta) * x (R P)^T) U^T), R P built each step."""

    def __init__(self, layer: nn.Module, cfg: antipasto.AntiPaSTOConfig) -> None:
        super().__init__()
        self.cfg = cfg
        for name in ("lora_U", "lora_S", "lora_Vh"):
            self.register_buffer(name, getattr(layer, name))
        for name in ("lora_delta_s", "lora_rot_T"):
            self.register_parameter(name, getattr(layer, name))
        self.register_buffer("residual", layer.weight.detach() - layer.lora_U * layer.lora_S @ layer.lora_Vh)

    def forward(self, x: Tensor) -> Tensor:
        bs = self.cfg.block_size
        R = torch.eye(bs) + rotation_minus_identity(self.lora_rot_T, bs, self.cfg.max_rotation_angle)
        turned = (R @ self.lora_Vh.view(-1, bs, self.lora_Vh.shape[1])).flatten(0, 1)  # (r, d_in)
        h = linear(x, turned) * (self.lora_S + self.lora_delta_s)
        return linear(x, self.residual) + linear(h, self.lora_U)


def main() -> int:
    cfg = antipasto.AntiPaSTOConfig(r=R, target_names=LINEAR)
    ours = antipasto.attach(stack(), cfg)
    rotated = copy.deepcopy(ours)
    for name in LINEAR:
        rotated[int(name)] = RotatedBasis(rotated[int(name)], cfg)
    x = torch.randn(3, NARROW)
    torch.testing.assert_close(rotated(x), ours(x), rtol=1e-4, atol=1e-5)
    figures = {
        "base": kept(stack().requires_grad_(False)),
        "antipasto r=256": kept(ours),
        "antipasto_gain r=256": kept(
            antipasto.attach(stack(), antipasto.AntiPaSTOGainConfig(r=R, target_names=LINEAR))
        ),
        "antipasto r=256, the basis rotated": kept(rotated),
        "lora r=32": kept(antipasto.attach(stack(), antipasto.LoRAConfig(r=32, target_names=LINEAR))),
    }
    claims = [
        Claim(f"antipasto / {other}", figures["antipasto r=256"] / figures[other], bound)
        for other, bound in (("antipasto r=256, the basis rotated", 0.60), ("lora r=32", 0.80))
    ]
    cells = [Cell(name, "MiB", [count / 2**20]) for name, count in figures.items()]
    return record("memory", f"Linear {NARROW}x{WIDE}, SiLU, linear {WIDE}x{NARROW}, {TOKENS} tokens.", cells, claims)


if __name__ == "__main__":
    sys.exit(main())
