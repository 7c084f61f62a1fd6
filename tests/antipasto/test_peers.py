"""Claims about single peers that no common law holds."""

import torch
from tiny_model import ALL, attach, randomise
from torch import nn

import antipasto
from antipasto import DeLoRAConfig, EVAConfig, IA3Config, IA3FFConfig


def test_eva_starts_on_the_top_right_singular_vectors_of_all_inputs_and_trains_them(tiny):
    torch.manual_seed(0)
    x = torch.randn(90, 20) * torch.linspace(0.2, 3, 20) + 1.0  # not centred: the mean is a direction like any other
    antipasto.attach(tiny, EVAConfig(r=5, target_names=["lin1"]), [x[:30], x[30:]])
    expected = torch.linalg.svd(x.double(), full_matrices=False).Vh[:5]
    A = tiny.lin1.lora_A.detach().double()
    assert torch.allclose((A * expected).sum(1).abs(), torch.ones(5, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(A @ A.T, torch.eye(5, dtype=torch.float64), atol=1e-5)
    assert tiny.lin1.lora_A.requires_grad
    randomise(tiny)
    tiny(x).square().sum().backward()
    assert tiny.lin1.lora_A.grad.abs().sum() > 0


def test_delora_is_bounded_by_lambda_and_each_channels_own_norm(tiny):
    """Whatever A and B are, each of the r terms has the length lambda / r, in units of the channel's norm in W."""
    attach(tiny, DeLoRAConfig(r=6, lambda0=0.7, target_names=["lin1"]))
    randomise(tiny, scale=5.0)
    thin = antipasto.REGISTRY["delora"].factors(tiny.lin1, antipasto.attachment(tiny).cfg, torch.float64)
    per_channel = (thin.B @ thin.A) / tiny.lin1.weight.detach().norm(dim=0)
    assert torch.linalg.matrix_norm(per_channel, ord=2) <= tiny.lin1.lora_lambda.abs() + 1e-6
    for i in range(6):
        term = torch.outer(thin.B[:, i], thin.A[i]) / tiny.lin1.weight.detach().norm(dim=0)
        assert torch.allclose(term.norm(), tiny.lin1.lora_lambda.double() / 6, rtol=1e-5)


def test_deloras_floor_bounds_the_first_step_from_zero(tiny):
    """At B = 0 a norm of 0 would divide by 0; floored at 1e-4, a B below the floor counts in proportion."""
    attach(tiny, DeLoRAConfig(r=2, lambda0=1.0, target_names=["lin1"]))
    tiny.lin1.lora_B.data[0, 0] = 1e-5
    thin = antipasto.REGISTRY["delora"].factors(tiny.lin1, antipasto.attachment(tiny).cfg, torch.float64)
    term = torch.outer(thin.B[:, 0], thin.A[0]) / tiny.lin1.weight.detach().norm(dim=0)
    assert torch.allclose(term.norm(), torch.tensor(0.1 / 2, dtype=torch.float64), rtol=1e-4)


def test_ia3_in_bfloat16_keeps_a_gain_that_bfloat16_cannot_hold():
    """1.005 rounds to 1.0078 in bfloat16, 0.005 does not. Seen over many outputs, whose own rounding averages out."""
    torch.manual_seed(0)
    for cfg in (IA3Config(target_names=ALL), IA3FFConfig(target_names=ALL)):
        model = nn.ModuleDict({"lin": nn.Linear(256, 4096, bias=False)}).bfloat16()
        attach(model, cfg)
        model["lin"].lora_g.data.fill_(1.005)
        x = torch.randn(8, 256).bfloat16()
        with antipasto.disabled(model):
            base = model["lin"](x).float()
        grown = (model["lin"](x).float() * base).sum() / base.square().sum() - 1
        assert 0.004 < grown < 0.006, cfg.variant
        assert torch.tensor(1.005).bfloat16().item() > 1.007
