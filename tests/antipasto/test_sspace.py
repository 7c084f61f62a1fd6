"""Claims about S-space steering: its direction is the contrast in singular coordinates, its push is the equation."""

import pytest
import torch
from tiny_model import ALL

import antipasto
from antipasto import AdapterError, Contrast, SSpaceConfig


def test_direction_and_push_are_the_equations_of_the_outputs(tiny):
    """The library finds means from inputs; here they are taken from outputs, as the equation is written."""
    tiny.double()
    torch.manual_seed(2)
    good, bad = torch.randn(30, 20, dtype=torch.float64) + 0.5, torch.randn(40, 20, dtype=torch.float64)
    W, b = tiny.lin1.weight.detach().clone(), tiny.lin1.bias.detach().clone()
    antipasto.attach(tiny, SSpaceConfig(r=6, alpha=0.7, target_names=["lin1"]), Contrast([good[:9], good[9:]], [bad]))
    U, S, _ = torch.linalg.svd(W, full_matrices=False)
    U, root = U[:, :6], S[:6].sqrt()

    def in_s_space(x):
        return x @ W.T @ U / (root + 1e-6)

    d = in_s_space(good).mean(0) - in_s_space(bad).mean(0)
    d = d / d.norm()
    x = torch.randn(11, 20, dtype=torch.float64)
    cosine = in_s_space(x) @ d / in_s_space(x).norm(dim=1)
    expected = x @ W.T + b + (0.7 * cosine[:, None] * d * root) @ U.T
    assert (tiny.lin1(x) - expected).abs().max() < 1e-10
    assert (cosine < 0).any(), "the cosine is signed: some inputs are pushed the other way"


def test_its_directions_are_those_of_largest_singular_value(tiny):
    """Not those of the largest contrast, which here is along the smallest; d has length 1 within them."""
    U, S, Vh = torch.linalg.svd(tiny.lin1.weight.detach(), full_matrices=False)
    bad = torch.randn(40, 20)
    good = bad + 50 * Vh[-1] + Vh[0]
    antipasto.attach(tiny, SSpaceConfig(r=6, target_names=["lin1"]), Contrast([good], [bad]))
    assert torch.equal(tiny.lin1.lora_S, S[:6])
    assert torch.equal(tiny.lin1.lora_U, U[:, :6])
    assert tiny.lin1.lora_d.norm().item() == pytest.approx(1, abs=1e-6)
    antipasto.detach(tiny)
    antipasto.attach(tiny, SSpaceConfig(target_names=["lin1"]), Contrast([good], [bad]))
    assert len(tiny.lin1.lora_S) == 20, "all of them by default"


def test_padding_takes_no_part_in_either_mean(tiny):
    torch.manual_seed(3)
    good, bad = torch.randn(2, 7, 20), torch.randn(2, 7, 20)
    antipasto.attach(tiny, SSpaceConfig(target_names=ALL), Contrast([good], [bad]))
    d = tiny.lin2.lora_d.clone()
    antipasto.detach(tiny)

    def padded(x):
        x_padded = torch.full((2, 9, 20), 50.0)
        x_padded[:, 2:] = x
        mask = torch.ones(2, 9)
        mask[:, :2] = 0
        return {"x": x_padded, "attention_mask": mask}

    antipasto.attach(tiny, SSpaceConfig(target_names=ALL), Contrast([padded(good)], [padded(bad)]))
    assert torch.allclose(tiny.lin2.lora_d, d, atol=1e-5)


def test_data_of_the_wrong_kind_are_one_clear_error(tiny):
    with pytest.raises(AdapterError, match=r"sspace chooses by Contrast\(positive, negative\)"):
        antipasto.attach(tiny, SSpaceConfig(target_names=ALL), [torch.randn(4, 20)])
    with pytest.raises(AdapterError, match="eva chooses by batches"):
        antipasto.attach(tiny, antipasto.EVAConfig(r=2, target_names=ALL), Contrast([torch.randn(4, 20)], []))
    with pytest.raises(AdapterError, match="0 calibration tokens"):
        antipasto.attach(tiny, SSpaceConfig(target_names=ALL), Contrast([torch.randn(4, 20)], []))
    assert not antipasto.find_targets(tiny, SSpaceConfig(target_names=ALL))["lin1"]._forward_hooks
