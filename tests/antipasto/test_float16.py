"""Claims about float16: an adapter's products are in float32 there, where what they pass through would overflow."""

import pytest
import torch
from tiny_model import NEEDED, SETTINGS, Tiny, attach, configs, name_of, randomise
from torch import Tensor

import antipasto
from antipasto.variant import compute_dtype

LIMIT = 65504  # the largest number of float16


def loud(dtype: torch.dtype) -> tuple[Tiny, Tensor]:
    """A layer with singular values of 300 to 200, and inputs of length 300 along the first of its directions.

    In singular coordinates an output is 90,000, more than float16 holds; it is spread evenly over 28 outputs.
    """
    torch.manual_seed(0)
    model = Tiny()
    start = torch.randn(28, 20)
    start[:, 0] = 1
    U, Vh = torch.linalg.qr(start).Q, torch.linalg.qr(torch.randn(20, 20)).Q
    with torch.no_grad():
        model.lin1.weight.copy_((U * torch.linspace(300, 200, 20)) @ Vh)
    model.half()
    return model.to(dtype), (300 * Vh[0]).repeat(3, 1).half().to(dtype)


def turn_down(layer: torch.nn.Linear, x: Tensor) -> None:
    """Parameters that take away some nine tenths of the first direction, or read it loudly and write it softly."""
    p = dict(layer.named_parameters())
    with torch.no_grad():
        for name in ("lora_delta_s", "lora_delta_s_hack"):
            if name in p:
                p[name][0] = -270 / (2 if "lora_delta_s_hack" in p else 1)
        for name in ("lora_R", "lora_M"):
            if name in p:
                p[name][0, 0] = -0.9
        if "lora_c" in p:
            p["lora_c"].fill_(1e-3)[0] = 1
            p["lora_alpha"].fill_(0.9)
        if "lora_g" in p and "lora_S" in dict(layer.named_buffers()):
            p["lora_g"].fill_(-2)
        if "lora_A" in p and "lora_S" not in dict(layer.named_buffers()):
            p["lora_A"][0] = x[0]  # a read of 300 * 300
            p["lora_B"][:, 0] = 0.1


OVERFLOWING = {
    "antipasto", "antipasto_gain", "antipasto_ablate", "antipasto_arrow", "antipasto_dplr", "antipasto_asvd",
    "antipasto_corda", "lora_xs", "delta_s", "lora", "pissa", "dora", "delora", "eva", "sspace",
}  # fmt: skip
EACH = [
    antipasto.CONFIGS[name](**{"r": 8, "target_names": ["lin1"]} | NEEDED.get(name, {}) | setting)
    for name in antipasto.CONFIGS
    for setting in [{}, *SETTINGS.get(name, [])]
    if name in OVERFLOWING and (name != "antipasto_arrow" or not setting)
]


def adapted(cfg: antipasto.AdapterConfig, dtype: torch.dtype, tensors: dict[str, Tensor] | None) -> tuple[Tiny, Tensor]:
    """The loud model with an adapter of the given tensors; of its own where there are none."""
    model, x = loud(dtype)
    attach(model, cfg)
    if tensors is None:
        turn_down(model.lin1, x)
    else:
        model.load_state_dict(tensors)
    return model, x


@pytest.mark.parametrize("cfg", EACH, ids=name_of)
def test_what_overflows_within_an_adapter_does_not_reach_its_output(cfg):
    half, x = adapted(cfg, torch.float16, None)
    single, _ = adapted(cfg, torch.float32, half.state_dict())
    outputs = []
    for model in (half, single):
        given = x.detach().clone().to(model.lin1.weight.dtype).requires_grad_()
        y = model.lin1(given)
        assert y.dtype == given.dtype
        (y.float().sum() * 1e-3).backward()
        outputs.append(
            (y.float(), given.grad.float(), [p.grad for p in antipasto.trainable_parameters(model).values()])
        )
    (y, grad, grads), (expected_y, expected_grad, expected_grads) = outputs
    assert y.isfinite().all()
    loudest = max(float(part.abs().max()) for part in (x.float() @ single.lin1.weight.T, expected_y.detach()))
    assert (y - expected_y).abs().max() < 2e-3 * loudest
    assert (grad - expected_grad).abs().max() < 4e-3 * max(1.0, float(expected_grad.abs().max()))
    for ours, theirs in zip(grads, expected_grads, strict=True):
        assert ours.isfinite().all()
        assert (ours - theirs).abs().max() <= 4e-3 * theirs.abs().max()


@pytest.mark.parametrize("cfg", configs(), ids=name_of)
def test_frozen_tensors_are_in_float32_and_trained_ones_too(cfg):
    model = Tiny().half()
    attach(model, cfg)
    own = {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}
    assert own
    assert {tensor.dtype for tensor in own.values()} == {torch.float32}
    assert model.lin1.weight.dtype == model.lin1(torch.randn(2, 20).half()).dtype == torch.float16


@pytest.mark.parametrize("cfg", configs(), ids=name_of)
def test_under_autocast_to_float16_it_is_the_same(cfg):
    torch.manual_seed(0)
    model = Tiny()
    attach(model, cfg)
    randomise(model, scale=0.02)
    x = torch.randn(3, 20)
    expected = model.lin1(x)
    with torch.autocast("cpu", torch.float16):
        y = model.lin1(x)
    assert y.dtype == torch.float16
    assert (y.float() - expected).abs().max() < 2e-3 * expected.abs().max()


@pytest.mark.parametrize("cfg", EACH, ids=name_of)
def test_nothing_overflows_under_autocast_either(cfg):
    model, x = adapted(cfg, torch.float32, None)
    with torch.autocast("cpu", torch.float16):
        assert model.lin1(x).isfinite().all()


def test_only_float16_is_computed_in_another_dtype():
    dtypes = {torch.float16: torch.float32, torch.bfloat16: torch.bfloat16, torch.float64: torch.float64}
    assert {dtype: compute_dtype(dtype) for dtype in dtypes} == dtypes
