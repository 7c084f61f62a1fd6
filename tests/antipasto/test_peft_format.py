"""Claims about export: what PEFT loads from the folder computes what the adapted model does."""

import copy
import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from tiny_model import NEEDED, randomise
from transformers import Qwen3Config, Qwen3ForCausalLM

import antipasto
from antipasto import AdapterError, FrozenBasisConfig

LOW_RANK = [
    name
    for name, cls in antipasto.CONFIGS.items()
    if issubclass(cls, FrozenBasisConfig) or name in ("lora", "pissa", "eva", "delora")
]
OTHERS = ["dora", "hra", "ia3", "ia3_ff", "road", "sspace"]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, attention_bias=True, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def adapted(base, name, **given):
    model = copy.deepcopy(base)
    fields = {"r": 8, "target_names": (".*_proj",)} | NEEDED.get(name, {}) | given
    cfg = antipasto.CONFIGS[name](**fields)
    tokens = torch.randint(50, (4, 20), generator=torch.Generator().manual_seed(1))
    data = antipasto.Contrast([tokens], [tokens % 25]) if name == "sspace" else [{"input_ids": tokens}]
    antipasto.attach(model, cfg, data, generator=torch.Generator().manual_seed(0))
    randomise(model, scale=0.1)
    return model


def test_the_two_lists_name_every_variant():
    assert sorted(LOW_RANK + OTHERS) == sorted(antipasto.CONFIGS)


SETTINGS = [
    *((name, {}) for name in LOW_RANK),
    ("delta_s", {"r": None}),  # another rank in each layer
    *(("antipasto", {"rotate_basis": way}) for way in ("U", "both", "none")),
    *(("antipasto_gain", {"basis": basis, "coeff": 0.5}) for basis in ("wanda", "asvd", "corda")),
]


@pytest.mark.parametrize(("name", "given"), SETTINGS, ids=[f"{n}-{g}" for n, g in SETTINGS])
def test_peft_computes_the_same_logits_from_the_folder(base, tmp_path, name, given):
    model = adapted(base, name, **given)
    tokens = torch.randint(50, (3, 11), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = model(tokens).logits
        untuned = base(tokens).logits
        folder = antipasto.save_peft(model, tmp_path / "lora", base_model="somewhere/base")
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(folder)).eval()(tokens).logits
    scale = untuned.abs().max()
    assert (ours - untuned).abs().max() > 1e-3 * scale
    assert (ours - theirs).abs().max() <= 1e-5 * scale
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_rank_is_r_and_twice_that_for_pissa(base, tmp_path):
    """PiSSA's residual is not the base model's weight: what it lacks is subtracted by as many directions again."""
    for name, rank in (("antipasto", 8), ("lora", 8), ("pissa", 16)):
        folder = antipasto.save_peft(adapted(base, name), tmp_path / name, base_model="b")
        assert json.loads((folder / "adapter_config.json").read_text())["r"] == rank
        tensors = load_file(folder / "adapter_model.safetensors")
        assert tensors["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"].shape == (rank, 48)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_lora_is_refused_and_writes_nothing(base, tmp_path, name):
    with pytest.raises(AdapterError, match=f"{name} does not change W by a product of rank r"):
        antipasto.save_peft(adapted(base, name), tmp_path / "lora", base_model="b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_left_alone(base, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AdapterError, match="not an empty folder"):
        antipasto.save_peft(adapted(base, "lora"), tmp_path, base_model="b")
    assert (tmp_path / "notes.txt").read_text() == "mine"
