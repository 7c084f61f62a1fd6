"""Bytes that autograd keeps between forward and backward, on a stack of 1024x3072 layers at 1024 tokens."""

import copy
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

import antipasto
from antipasto.rotation import rotation_minus_identity

from ...run.costs import bytes_saved_for_backward
from ..recording import run_suite
from ..suite import ArmFigures, Claim, SuiteResult

TOKENS, WIDE, NARROW, R = 1024, 3072, 1024, 256
LINEAR = ("0", "2")


def build_stack() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(NARROW, WIDE, bias=False), nn.SiLU(), nn.Linear(WIDE, NARROW, bias=False))


def bytes_saved(model: nn.Module) -> int:
    x = torch.randn(TOKENS, NARROW, requires_grad=True)
    return bytes_saved_for_backward(lambda: model(x), [x, *model.parameters(), *model.buffers()])


class RotatedBasis(nn.Module):
    """The same adapter as it is usually written: x W_res^T + (((S + delta) * x (R P)^T) U^T), R P built each step."""

    U: Tensor  # (d_out, r)
    S: Tensor  # (r,)
    P: Tensor  # (r, d_in)
    delta: Tensor  # (r,)
    theta: Tensor  # (r / block_size, block_size (block_size - 1) / 2), the parameters of R
    residual: Tensor  # (d_out, d_in)

    def __init__(self, layer: nn.Module, cfg: antipasto.AntiPaSTOConfig) -> None:
        super().__init__()
        self.cfg = cfg
        for name, of_layer in {"U": "lora_U", "S": "lora_S", "P": "lora_Vh"}.items():
            self.register_buffer(name, layer.get_buffer(of_layer))
        for name, of_layer in {"delta": "lora_delta_s", "theta": "lora_rot_T"}.items():
            self.register_parameter(name, layer.get_parameter(of_layer))
        self.register_buffer("residual", layer.get_parameter("weight").detach() - self.U * self.S @ self.P)

    def forward(self, x: Tensor) -> Tensor:
        bs = self.cfg.block_size
        R = torch.eye(bs) + rotation_minus_identity(self.theta, bs, self.cfg.max_rotation_angle)
        rotated = (R @ self.P.view(-1, bs, self.P.shape[1])).flatten(0, 1)  # (r, d_in)
        h = linear(x, rotated) * (self.S + self.delta)
        return linear(x, self.residual) + linear(h, self.U)


def measure() -> SuiteResult:
    cfg = antipasto.AntiPaSTOConfig(r=R, target_names=LINEAR)
    ours = antipasto.attach(build_stack(), cfg)
    rotated: Any = copy.deepcopy(ours)
    for name in LINEAR:
        rotated[int(name)] = RotatedBasis(rotated[int(name)], cfg)
    x = torch.randn(3, NARROW)
    torch.testing.assert_close(rotated(x), ours(x), rtol=1e-4, atol=1e-5)
    gain = antipasto.AntiPaSTOGainConfig(r=R, target_names=LINEAR)
    lora = antipasto.LoRAConfig(r=32, target_names=LINEAR)
    saved = {
        "base": bytes_saved(build_stack().requires_grad_(False)),
        "antipasto r=256": bytes_saved(ours),
        "antipasto_gain r=256": bytes_saved(antipasto.attach(build_stack(), gain)),
        "antipasto r=256, the basis rotated": bytes_saved(rotated),
        "lora r=32": bytes_saved(antipasto.attach(build_stack(), lora)),
    }
    claims = [
        Claim(f"antipasto / {other}", saved["antipasto r=256"] / saved[other], bound)
        for other, bound in (("antipasto r=256, the basis rotated", 0.60), ("lora r=32", 0.80))
    ]
    cells = [ArmFigures(name, "MiB", [count / 2**20]) for name, count in saved.items()]
    setting = f"Linear {NARROW}x{WIDE}, SiLU, linear {WIDE}x{NARROW}, {TOKENS} tokens."
    return SuiteResult(setting, cells, claims)


if __name__ == "__main__":
    sys.exit(run_suite("memory", measure))
