"""Claims about LoRA."""

import torch
from tiny_model import ALL, attach, randomise

import antipasto
from antipasto import LoRAConfig


def test_output_is_the_equation(tiny):
    tiny.double()
    attach(tiny, LoRAConfig(r=4, alpha=6.0, target_names=ALL))
    randomise(tiny)
    x = torch.randn(5, 20, dtype=torch.float64)
    A, B = tiny.lin1.lora_A.double(), tiny.lin1.lora_B.double()
    expected = x @ tiny.lin1.weight.T + tiny.lin1.bias + 6.0 / 4 * x @ A.T @ B.T
    assert (tiny.lin1(x) - expected).abs().max() < 1e-12


def test_identity_is_exact_in_bfloat16(tiny):
    tiny.bfloat16()
    x = torch.randn(5, 20, dtype=torch.bfloat16)
    y = tiny(x)
    attach(tiny, LoRAConfig(r=4, target_names=ALL))
    assert torch.equal(tiny(x), y)
    assert antipasto.trainable_parameters(tiny)["lin1.lora_A"].abs().max() > 0
