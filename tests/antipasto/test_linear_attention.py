"""Claims on a model with linear-attention layers, tiny and random, of Qwen3.5's own classes."""

import pytest
import torch
from tiny_model import NEEDED
from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

import antipasto

LINEAR = ("in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj")


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def model(request):
    torch.manual_seed(0)
    config = Qwen3_5TextConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4,
        linear_key_head_dim=8, linear_value_head_dim=8,
    )  # fmt: skip
    return Qwen3_5ForCausalLM(config).to(request.param)


@pytest.mark.parametrize("name", [name for name in antipasto.CONFIGS if antipasto.CONFIGS[name].trains])
def test_a_variant_trains_on_the_linear_attention_projections(model, name):
    cfg = antipasto.CONFIGS[name](**{"r": 4, "target_names": LINEAR} | NEEDED.get(name, {}))
    ids = torch.randint(60, (2, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        base = model(ids).logits
    antipasto.attach(model, cfg, [{"input_ids": ids}], generator=torch.Generator().manual_seed(0))
    trained = antipasto.trainable_parameters(model)
    kinds = {key.split(".")[-2] for key in trained}
    assert kinds == set(LINEAR), "every kind of projection is there"
    assert not any("self_attn" in key for key in trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=2e-2)
    losses = []
    for _ in range(6):
        loss = model(ids, labels=ids).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    antipasto.detach(model)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, base)


def test_delta_s_names_every_projection_of_both_kinds_of_layer(model):
    names = {name.rpartition(".")[2] for name in antipasto.find_targets(model, antipasto.DeltaSConfig())}
    assert names == {*LINEAR, "q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj"}
