"""Claims about the parts of other packages that are private to them: each is there in the versions that the project
names, and where one is gone the library is slower and right, or says what is missing."""

import copy

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes import functional
from bitsandbytes.nn import modules as bnb_modules
from tiny_model import ALL, Tiny, attach, randomise
from torch import nn

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig, compat
from antipasto.quantised import quantisation, weight_of


def linear_4bit() -> bnb.nn.Linear4bit:
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(64, 128, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    layer.load_state_dict(nn.Linear(64, 128, bias=False).state_dict())
    return layer.to("cpu")


def linear_8bit() -> bnb.nn.Linear8bitLt:
    torch.manual_seed(0)
    layer = bnb.nn.Linear8bitLt(64, 128, bias=False, has_fp16_weights=False)
    layer.load_state_dict(nn.Linear(64, 128, bias=False).state_dict())
    return layer.to("cpu")


def repacked_4bit() -> tuple[bnb.nn.Linear4bit, torch.Tensor]:
    """A layer after what bitsandbytes does to it in eval mode, on whatever CPU this is; and its weight before that."""
    layer = linear_4bit()
    before = weight_of(layer)
    layer.weight.data, layer.weight.quant_state = functional._convert_weight_packed_for_cpu(
        layer.weight.data, layer.weight.quant_state
    )
    return layer, before


def test_torch_counts_changes_in_place():
    tensor = torch.zeros(3)
    assert isinstance(tensor._version, int)
    before = compat.version_of(tensor)
    assert compat.version_of(tensor) == before
    tensor += 1
    assert compat.version_of(tensor) != before


def test_bitsandbytes_has_the_parts_that_are_used():
    assert callable(functional._convert_weight_packed_for_cpu_inverse)
    assert callable(functional.dequantize_4bit)
    assert bnb_modules._convert_weight_packed_for_cpu is functional._convert_weight_packed_for_cpu
    weight = linear_4bit().weight
    assert quantisation(linear_4bit()) == "4-bit"
    assert compat.is_4bit(weight)
    assert not compat.is_repacked(weight)
    assert repacked_4bit()[0].weight.quant_state.packing_format_for_cpu is True
    layer = linear_8bit()
    assert quantisation(layer) == "8-bit"
    assert layer.weight.CB.dtype == torch.int8
    assert layer.weight.SCB.shape == (128,)
    layer(torch.randn(2, 64))
    assert layer.state.CB.shape == (128, 64), "after the first forward pass they are here"
    assert layer.state.SCB.shape == (128,)


def test_a_repacked_weight_is_read_right_and_left_as_it_is():
    layer, before = repacked_4bit()
    codes, state = layer.weight.data.clone(), copy.copy(layer.weight.quant_state)
    assert compat.is_repacked(layer.weight)
    assert (weight_of(layer) - before).abs().max() < 0.01 * before.abs().max()
    assert torch.equal(layer.weight.data, codes)
    assert layer.weight.quant_state.packing_format_for_cpu == state.packing_format_for_cpu


def test_without_the_inverse_a_repacked_weight_is_one_clear_error_and_others_are_read(monkeypatch):
    layer, before = repacked_4bit()
    monkeypatch.delattr(functional, "_convert_weight_packed_for_cpu_inverse")
    message = rf"bitsandbytes {bnb.__version__} has no functional\._convert_weight_packed_for_cpu_inverse"
    with pytest.raises(AdapterError, match=message):
        weight_of(layer)
    assert torch.equal(weight_of(linear_4bit()), before)


def test_without_codes_and_scales_an_8bit_weight_is_one_clear_error():
    layer = linear_8bit()
    layer.weight.CB = None
    with pytest.raises(AdapterError, match="its codes CB and scales SCB neither on its weight nor in its state"):
        weight_of(layer)


def test_where_torch_counts_no_changes_results_are_computed_again_and_stay_right(monkeypatch):
    torch.manual_seed(0)
    x, losses = torch.randn(5, 20), []
    for version_of in (compat.version_of, lambda tensor: object()):
        monkeypatch.setattr("antipasto.batched.version_of", version_of)
        torch.manual_seed(0)
        model = attach(Tiny(), AntiPaSTOConfig(r=8, target_names=ALL))
        randomise(model)
        trained = list(antipasto.trainable_parameters(model).values())
        optimizer = torch.optim.AdamW(trained, lr=1e-2)
        for _ in range(3):
            loss = (model(x) - 1).square().mean()
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert losses[:3] == losses[3:]
    assert losses[2] < losses[0]


def test_a_tensor_from_inference_mode_is_taken_for_changed_at_every_look():
    with torch.inference_mode():
        tensor = torch.zeros(3)
    with pytest.raises(RuntimeError, match="version counter"):
        _ = tensor._version
    assert compat.version_of(tensor) != compat.version_of(tensor)
