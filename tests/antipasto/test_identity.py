"""Claims about the start: exact where a variant's own page says exact, close where it says close."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import Tiny, attach, configs, name_of, randomise

import antipasto

# How far from the base an inexact start may be, as a share of the largest output.
CLOSE = {"antipasto": 0.02, "antipasto_ablate": 0.2, "lora_xs": 5e-4, "hra": 1e-5, "pissa": 1e-5}
EXACT = [cfg for cfg in configs() if cfg.variant not in (*CLOSE, "sspace")]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("cfg", EXACT, ids=name_of)
def test_an_exact_start_is_the_base_bit_for_bit(tiny, cfg, dtype):
    assert antipasto.describe(cfg.variant).identity.startswith("exact")
    x = torch.randn(5, 20, dtype=dtype)
    y = tiny.to(dtype)(x)
    attach(tiny, cfg)
    assert torch.equal(tiny(x), y)


@settings(max_examples=150)
@given(
    cfg=st.sampled_from([cfg for cfg in configs(r=4) if cfg.variant not in (*CLOSE, "sspace")]),
    d_in=st.integers(4, 30),
    d_hidden=st.integers(1, 8).map(lambda n: 4 * n),
    d_out=st.integers(1, 8).map(lambda n: 4 * n),
    dtype=st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
    seed=st.integers(0, 999),
)
def test_on_any_shape_an_exact_start_detach_and_disabled_are_the_base(cfg, d_in, d_hidden, d_out, dtype, seed):
    torch.manual_seed(seed)
    model, x = Tiny(d_in, d_hidden, d_out).to(dtype), torch.randn(6, d_in, dtype=dtype)
    y, before = model(x), {name: value.clone() for name, value in model.state_dict().items()}
    attach(model, cfg, seed)
    assert torch.equal(model(x), y)
    randomise(model, seed=seed)
    with antipasto.disabled(model):
        assert torch.equal(model(x), y)
    antipasto.detach(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("cfg", [cfg for cfg in configs() if cfg.variant in CLOSE], ids=name_of)
def test_an_inexact_start_is_as_close_as_it_says_and_not_called_exact(tiny, cfg, dtype):
    assert not antipasto.describe(cfg.variant).identity.startswith("exact")
    x = torch.randn(50, 20, dtype=dtype)
    y = tiny.to(dtype)(x)
    attach(tiny, cfg)
    allowed = max(CLOSE[cfg.variant], 0.02 if dtype == torch.bfloat16 else 0)
    assert (tiny(x) - y).abs().max() <= allowed * y.abs().max()


def test_ablate_and_sspace_are_the_base_when_their_knob_is_off(tiny):
    x = torch.randn(5, 20)
    y = tiny(x)
    attach(tiny, antipasto.AntiPaSTOAblateConfig(r=8, k=2, target_names=["lin.*"]))
    assert not torch.equal(tiny(x), y)
    antipasto.set_coeff(tiny, 0.0)
    assert torch.equal(tiny(x), y)
    antipasto.detach(tiny)
    attach(tiny, antipasto.SSpaceConfig(alpha=0.0, target_names=["lin.*"]))
    assert torch.equal(tiny(x), y)


def test_pissa_and_detach_leave_no_trace_even_after_a_move(tiny):
    x = torch.randn(5, 20)
    y, before = tiny(x), tiny.lin1.weight.detach().clone()
    attach(tiny, antipasto.PiSSAConfig(r=4, target_names=["lin.*"]))
    assert not torch.equal(tiny.lin1.weight, before), "the residual stands in the layer"
    with antipasto.disabled(tiny):
        assert torch.equal(tiny.lin1.weight, before)
        assert torch.equal(tiny(x), y)
    tiny.double()
    antipasto.detach(tiny)
    assert tiny.lin1.weight.dtype == torch.float64
    assert torch.equal(tiny.float().lin1.weight, before)
