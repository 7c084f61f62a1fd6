"""Claims about mistakes: each is one clear error, and the model is left as it was."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import ALL, Tiny, attach
from torch import nn

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig, LoRAConfig


def tied(model: Tiny) -> Tiny:
    model.twin = nn.Linear(20, 28)
    model.twin.weight = model.lin1.weight
    return model


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: attach(m, LoRAConfig(r=17, target_names=ALL)), "lin2: r=17 is above min.*16"),
        (lambda m: attach(m, LoRAConfig(target_names=["down_proj"])), "no linear layer matches.*lin1, lin2"),
        (lambda m: attach(attach(m, LoRAConfig(r=2, target_names=ALL)), LoRAConfig(r=2)), "already has an adapter"),
        (lambda m: AntiPaSTOConfig(r=10, block_size=4), "r=10 is not a multiple of block_size=4"),
        (lambda m: AntiPaSTOConfig(rotate_basis="W"), "rotate_basis must be one of V, U, both, none; got 'W'"),
        (lambda m: AntiPaSTOConfig(basis="svdd"), "basis must be one of svd, wanda, asvd, corda"),
        (lambda m: LoRAConfig(target_names=["("]), "not a valid regex"),
        (lambda m: LoRAConfig(target_names="q_proj"), "must be a list"),
        (lambda m: LoRAConfig(r=0), "r must be a whole number of at least 1"),
        (lambda m: antipasto.AdapterConfig.from_dict({"variant": "lore"}), "did you mean 'lora'"),
        (lambda m: antipasto.AdapterConfig.from_dict({"variant": "lora", "alpa": 1}), "did you mean 'alpha'"),
        (lambda m: antipasto.attach(m, AntiPaSTOConfig(r=8, basis="wanda", target_names=ALL)), "calibration_data"),
        (lambda m: attach(tied(m), LoRAConfig(r=2, target_names=["lin1"])), "lin1 shares its weight with twin.weight"),
        (lambda m: antipasto.detach(m), "no adapter is attached"),
        (lambda m: antipasto.merge(m), "no adapter is attached"),
        (lambda m: antipasto.unmerge(attach(m, LoRAConfig(r=2, target_names=ALL))), "not merged"),
    ],
)
def test_a_mistake_is_one_clear_error_and_leaves_the_model_alone(tiny, wrong, message):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with pytest.raises(AdapterError, match=message):
        wrong(tiny)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items() if name in before)


def test_a_failed_attach_can_be_tried_again(tiny):
    with pytest.raises(AdapterError, match="4 calibration tokens"):
        antipasto.attach(tiny, AntiPaSTOConfig(r=8, basis="wanda", target_names=ALL), [torch.randn(1, 4, 20)])
    assert all(p.requires_grad for p in tiny.parameters())
    assert not any("lora_" in name for name in tiny.state_dict())
    attach(tiny, LoRAConfig(r=4, target_names=ALL))


def test_loading_says_what_is_wrong(tiny, tmp_path):
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not an adapter")
    with pytest.raises(AdapterError, match="cannot be read"):
        antipasto.load(tiny, junk)
    with pytest.raises(AdapterError, match="cannot be read"):
        antipasto.load(tiny, tmp_path / "absent.safetensors")
    attach(tiny, LoRAConfig(r=4, target_names=ALL))
    path = antipasto.save(tiny, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=r"does not fit|no linear layer"):
        antipasto.load(Tiny(20, 12, 16), path)
    with pytest.raises(AdapterError, match="no layer 'lin1'"):
        antipasto.load(nn.Sequential(nn.Linear(4, 4)), path)


def test_files_that_lack_or_add_or_misshape_a_tensor_are_refused(tiny, tmp_path):
    attach(tiny, AntiPaSTOConfig(r=8, target_names=ALL))
    path = antipasto.save(tiny, tmp_path / "a.safetensors")
    antipasto.detach(tiny)
    metadata = {
        "format": "antipasto-1",
        "config": json.dumps(AntiPaSTOConfig(r=8, target_names=ALL).to_dict()),
    }
    whole = load_file(path)
    for change, message in (
        (lambda t: t.pop("lin1.lora_delta_s"), "has no lora_delta_s"),
        (lambda t: t.pop("lin2.lora_anchor"), "has no lora_anchor"),
        (lambda t: t.update({"lin1.lora_delta_s": torch.zeros(1)}), r"lora_delta_s is \(1,\) in the file, \(8,\) here"),
        (lambda t: t.update({"lin1.lora_odd": torch.zeros(1)}), "has a lora_odd, which antipasto has not"),
    ):
        tensors = dict(whole)
        change(tensors)
        save_file(tensors, tmp_path / "b.safetensors", metadata)
        with pytest.raises(AdapterError, match=message):
            antipasto.load(tiny, tmp_path / "b.safetensors")
    for wrong in ({"format": "antipasto-1"}, {"format": "antipasto-1", "config": "{"}):
        save_file(whole, tmp_path / "b.safetensors", wrong)
        with pytest.raises(AdapterError, match="cannot be read as an adapter"):
            antipasto.load(tiny, tmp_path / "b.safetensors")
    assert not any("lora_" in name for name in tiny.state_dict())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), "not a parameter of its own"),
        (
            lambda: attach(nn.Sequential(nn.Linear(8, 8)), LoRAConfig(r=2, target_names=["0"]))[0],
            "has an adapter already",
        ),
    ],
)
def test_a_layer_that_cannot_be_adapted_is_named(layer, message):
    with pytest.raises(AdapterError, match=message):
        antipasto.attach(nn.ModuleDict({"lin1": layer()}), LoRAConfig(r=2, target_names=ALL))


def test_one_batch_in_place_of_a_list_is_one_clear_error(tiny):
    for batch in (torch.randn(40, 20), {"x": torch.randn(40, 20)}):
        with pytest.raises(AdapterError, match=r"a list of batches.*write \[batch\]"):
            antipasto.attach(tiny, AntiPaSTOConfig(r=8, basis="wanda", target_names=ALL), batch)
