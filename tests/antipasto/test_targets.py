"""Claims about targets: every word of a config does something on the model, and what cannot be adapted is named."""

import ast
import re

import peft
import pytest
import torch
from tiny_model import Tiny
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    JetMoeConfig,
    JetMoeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

import antipasto
from antipasto import AdapterError, LoRAConfig, find_targets, kinds_left_out, kinds_of

TINY = {"vocab_size": 50, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 16}
TINY |= {"intermediate_size": 24, "num_hidden_layers": 3}


def llama(**given: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**TINY, **given))


def qwen3_moe() -> Qwen3MoeForCausalLM:
    """Block 0 is dense, with linear layers; the experts of blocks 1 and 2 are fused."""
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**TINY, head_dim=8, moe_intermediate_size=8, num_experts=4, num_experts_per_tok=2,
                       mlp_only_layers=[0])
    )  # fmt: skip


def jetmoe() -> JetMoeForCausalLM:
    """Its fused experts are the `weight` of modules of their own; its routers are linear layers."""
    return JetMoeForCausalLM(
        JetMoeConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_key_value_heads=2, kv_channels=8,
                     intermediate_size=24, num_local_experts=4, num_experts_per_tok=2)
    )  # fmt: skip


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0)
    )


def chosen(model: nn.Module, **given: object) -> str:
    return kinds_of(find_targets(model, LoRAConfig(**given)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_names": ["q_proj", "v_porj"]}, "no layer is adapted for 'v_porj'; the nearest: v_proj, q_proj"),
        ({"target_names": ["q_porj"]}, r"no linear layer matches .*'q_porj'.*nearest: q_proj.*model has: down"),
        (
            {"target_names": ["q_proj", r"layers\.0\.mlp\.down_porj"]},
            r"'layers.*down_porj'; the nearest: model\.layers\.0\.mlp\.down_proj",
        ),
        ({"target_names": ["q_proj", "mlp"]}, r"'mlp': it matches a module that holds layers; write 'mlp\\\.\.\*'"),
        ({"target_names": ["q_proj", "input_layernorm"]}, r"input_layernorm \(LlamaRMSNorm, 16\) cannot be adapted"),
        ({"target_names": ["q_proj", "k_proj"], "exclude_names": ["k_proj"]}, r"the 3 that it matches are excluded"),
        ({"target_names": ["q_proj"], "exclude_names": ["k_porj"]}, r"exclude_names: 'k_porj' .*nearest: k_proj"),
        ({"target_names": ["q_proj"], "exclude_names": ["self_attn"]}, r"exclude_names: 'self_attn'.*holds layers"),
        ({"target_names": ["q_proj"], "layers": [0, 5]}, "layers: 5 is no block of this model; it has 0 to 2"),
        ({"layers": [-1]}, "layers: -1 is no block of this model; it has 0 to 2"),
        (
            {"target_names": [r"layers\.[02]\.mlp\.up_proj"], "layers": [0, 1]},
            "layers: block 1 has no target; there are some in 0, 2",
        ),
        ({"target_names": ["q_proj", r"1\.mlp\.up_proj"], "layers": [0]}, r"of the 1 that it matches, none is in"),
    ],
)
def test_a_word_that_does_nothing_is_refused_with_the_nearest_that_does(given, message):
    with pytest.raises(AdapterError, match=message):
        antipasto.attach(llama(), LoRAConfig(r=2, **given))


def test_defaults_that_are_written_for_many_models_need_not_match_in_full():
    assert chosen(llama()) == "3 layers: 3 down_proj", "exclude_names has an lm_head"
    assert len(find_targets(Tiny(), LoRAConfig(target_names=["lin1"]))) == 1, "and here there is none"
    projections = find_targets(llama(), antipasto.DeltaSConfig())
    assert {path.rpartition(".")[2] for path in projections} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj"
    }  # fmt: skip
    assert find_targets(llama(), antipasto.DeltaSConfig().canonical()).keys() == projections.keys()
    with pytest.raises(AdapterError, match="no layer is adapted for 'in_proj_a'"):
        find_targets(llama(), antipasto.DeltaSConfig(target_names=["q_proj", "in_proj_a"]))
    with pytest.raises(AdapterError, match=r"no linear layer matches target_names \['k_proj', 'v_proj'\]; this model"):
        find_targets(Tiny(), antipasto.IA3Config())


def test_an_adapter_that_was_saved_with_an_idle_word_still_loads(tmp_path):
    model = llama()
    antipasto.attach(model, LoRAConfig(r=2, target_names=["q_proj"]))
    state = antipasto.attachment(model)
    state.cfg = LoRAConfig(r=2, target_names=["q_proj", "in_proj_a"], exclude_names=["head"], layers=[0, 1, 2, 7])
    path = antipasto.save(model, tmp_path / "a.safetensors")
    antipasto.detach(model)
    antipasto.load(model, path)
    assert kinds_of(antipasto.attachment(model).targets) == "3 layers: 3 q_proj"


@pytest.mark.parametrize("tied", [True, False])
def test_all_linear_is_every_linear_layer_but_the_head_as_in_peft(tied):
    model = llama(tie_word_embeddings=tied)
    assert chosen(model, target_names="all-linear", exclude_names=[]) == (
        "21 layers: 3 down_proj, 3 gate_proj, 3 k_proj, 3 o_proj, 3 q_proj, 3 up_proj, 3 v_proj"
    )
    targets = set(find_targets(model, LoRAConfig(target_modules="ALL-LINEAR", exclude_names=[])))
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert targets == set(wrapped.targeted_module_names)


def test_all_linear_obeys_exclusions_and_layers():
    assert chosen(llama(), target_names="all-linear", exclude_names=[r"mlp\..*"], layers=[0, 2]) == (
        "8 layers: 2 k_proj, 2 o_proj, 2 q_proj, 2 v_proj"
    )


def test_all_linear_has_one_spelling():
    configs = [LoRAConfig(target_names=word) for word in ("all-linear", ["all-linear"], ("ALL-Linear",))]
    assert {cfg.canonical() for cfg in configs} == {configs[0]}
    assert configs[0].to_dict()["target_names"] == ["all-linear"]
    assert antipasto.AdapterConfig.from_dict(configs[0].to_dict()) == configs[0]
    with pytest.raises(AdapterError, match="all-linear stands alone"):
        LoRAConfig(target_names=["all-linear", "q_proj"])


FUSED = r"gate_up_proj \(fused expert weight, 4 x 16 x 16\), down_proj \(fused expert weight, 4 x 16 x 8\)"


@pytest.mark.parametrize("names", ["all-linear", [".*_proj"], [r"mlp\..*_proj"]])
def test_fused_experts_are_named_and_not_skipped(names):
    with pytest.raises(AdapterError, match=FUSED) as caught:
        antipasto.attach(qwen3_moe(), LoRAConfig(r=2, target_names=names))
    assert "exclude_names=['lm_head','gate_up_proj','experts.down_proj']" in str(caught.value)
    excluded = ["gate_up_proj", "experts.down_proj"]
    assert "1 down_proj, 1 gate_proj" in chosen(qwen3_moe(), target_names=names, exclude_names=excluded)


@pytest.mark.parametrize("names", ["all-linear", ["kv_proj", ".*_linear"]])
def test_fused_experts_that_are_the_weight_of_a_module_are_named_and_not_skipped(names):
    expected = r"input_linear \(fused expert weight, 4 x 48 x 16\), output_linear \(fused expert weight, 4 x 16 x 24\)"
    with pytest.raises(AdapterError, match=expected):
        antipasto.attach(jetmoe(), LoRAConfig(r=2, target_names=names))


def test_a_weight_is_fused_by_its_shape_and_not_by_its_name():
    rwkv = RwkvForCausalLM(RwkvConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, context_length=8))
    kinds = "14 layers: 4 key, 2 output, 4 receptance, 4 value"
    assert chosen(rwkv, target_names="all-linear") == kinds, "time_mix_key is 1 x 1 x 16"
    assert chosen(rwkv, target_names=[".*"], exclude_names=["embeddings", "head"]) == kinds, "and named in passing"
    model = nn.ModuleDict({"conv": nn.Conv1d(4, 8, 3), "lin": nn.Linear(4, 4)})
    model.register_parameter("positions", nn.Parameter(torch.zeros(1, 6, 4)))
    assert chosen(model, target_names="all-linear") == "1 layer: 1 lin"
    model.register_parameter("experts", nn.Parameter(torch.zeros(2, 6, 4)))
    with pytest.raises(AdapterError, match=r"experts \(fused expert weight, 2 x 6 x 4\); leave them out"):
        find_targets(model, LoRAConfig(target_names="all-linear"))


def test_routers_that_all_linear_leaves_out_are_named():
    router = "gate (Qwen3MoeTopKRouter, 4 x 16)"
    with pytest.raises(AdapterError, match=re.escape(f"; all-linear itself leaves out 2 {router}; this model has")):
        find_targets(qwen3_moe(), LoRAConfig(target_names="all-linear"))
    experts = ["gate_up_proj", "experts.down_proj"]
    cfg = LoRAConfig(r=2, target_names="all-linear", exclude_names=experts)
    assert kinds_left_out(qwen3_moe(), cfg) == f"2 {router}"
    antipasto.attach(model := qwen3_moe(), cfg)
    assert kinds_left_out(model, cfg) == f"2 {router}", "with the adapter too"
    for given in ({"exclude_names": [*experts, "gate"]}, {"layers": [0]}, {"target_names": [".*"]}):
        other = LoRAConfig(**({"target_names": "all-linear", "exclude_names": experts} | given))
        assert kinds_left_out(qwen3_moe(), other) == "", given
    assert kinds_left_out(llama(), LoRAConfig(target_names="all-linear")) == "", "embeddings and norms are no routers"


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ({"target_names": [".*"]}, {"lm_head"}),
        ({"target_names": [".*"], "exclude_names": []}, set()),
        ({"target_names": [".*_proj"], "exclude_names": ["q_proj"]}, {"q_proj", "lm_head"}),
        ({"target_names": [".*_proj"], "exclude_names": [r"layers\.\d+\.self_attn\.q_proj"]}, {"q_proj", "lm_head"}),
        ({"target_names": "all-linear", "exclude_names": ["k_proj", "o_proj"]}, {"k_proj", "o_proj", "lm_head"}),
    ],
)
def test_the_advised_exclusions_leave_out_what_was_left_out_before(given, left_out):
    model = qwen3_moe()
    with pytest.raises(AdapterError) as caught:
        find_targets(model, LoRAConfig(**given))
    pasted = re.search(r"leave them out by exclude_names=\[(.*?)\], or name", str(caught.value))[1]
    exclude = ast.literal_eval(f"[{pasted}]")
    targets = find_targets(model, LoRAConfig(**(given | {"exclude_names": exclude})))
    linear = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert linear - {path.rpartition(".")[2] for path in targets} == left_out


def test_the_advice_leaves_out_a_default_exclusion_that_excludes_nothing():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "lin": nn.Linear(4, 4)})
    with pytest.raises(AdapterError, match=r"exclude_names=\['embed'\]"):
        find_targets(model, LoRAConfig(target_names=[".*"]))
    assert chosen(model, target_names=[".*"], exclude_names=["embed"]) == "1 layer: 1 lin"


def test_a_default_does_not_adapt_a_part_of_the_layers_that_it_names():
    with pytest.raises(AdapterError, match=r"down_proj \(fused expert weight, 4 x 16 x 8\); leave them out"):
        find_targets(qwen3_moe(), LoRAConfig())
    assert chosen(qwen3_moe(), layers=[0]) == "1 layer: 1 down_proj", "the block that is dense"
    mixtral = MixtralForCausalLM(MixtralConfig(**TINY, num_local_experts=4, num_experts_per_tok=2))
    with pytest.raises(AdapterError, match=r"gate_up_proj .fused expert weight, 4 x 48 x 16.*name others"):
        find_targets(mixtral, LoRAConfig(target_names=["gate_up_proj"]))


@pytest.mark.parametrize("names", ["all-linear", ["c_attn"], ["c_.*"], [r"attn\..*"]])
def test_conv1d_of_gpt2_is_named(names):
    with pytest.raises(AdapterError, match=r"c_attn \(Conv1D, 16 x 48\)"):
        antipasto.attach(gpt2(), LoRAConfig(r=2, target_names=names))


def test_embeddings_convolutions_and_routers_are_named():
    with pytest.raises(AdapterError, match=r"embed_tokens \(Embedding, 50 x 16\); leave them out"):
        find_targets(llama(), LoRAConfig(target_names=[".*"]))
    with pytest.raises(AdapterError, match=r"gate \(Qwen3MoeTopKRouter, 4 x 16\)"):
        find_targets(qwen3_moe(), LoRAConfig(target_names=["q_proj", "gate"]))
    mixed = nn.Sequential(nn.Conv1d(4, 8, 3), nn.Linear(4, 4), nn.LayerNorm(4))
    with pytest.raises(AdapterError, match=r"0 \(Conv1d, 8 x 4 x 3\)"):
        find_targets(mixed, LoRAConfig(target_names=["[01]"]))
    assert list(find_targets(mixed, LoRAConfig(target_names=["[12]"]))) == ["1"], "the vectors of a norm are no matrix"


def test_a_part_of_a_linear_layer_is_no_layer():
    """The original tensors of a parametrization are parameters of its own module."""
    model = nn.ModuleDict({"lin1": nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)), "lin2": nn.Linear(6, 6)})
    assert list(find_targets(model, LoRAConfig(target_names=[".*"]))) == ["lin1", "lin2"]


def test_the_kinds_are_counted_by_the_last_part_of_the_path():
    assert kinds_of(["a.1.up", "a.2.up", "b.down"]) == "3 layers: 1 down, 2 up"
    assert kinds_of(["b.down"]) == "1 layer: 1 down"
    with torch.device("meta"):
        assert chosen(llama(), target_names=["o_proj"]) == "3 layers: 3 o_proj", "no weight is needed"
