"""Claims about the line that says which layers a run adapts."""

from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

import antipasto
from antipasto_bench.run.methods.registry import require_adapter


def test_a_run_names_the_layers_that_it_adapts_and_the_routers_that_all_linear_leaves_out():
    tiny = {"vocab_size": 50, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 16, "head_dim": 8}
    experts = {"moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2}
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**tiny, **experts, intermediate_size=24, num_hidden_layers=2))
    exclude = ["gate_up_proj", "down_proj"]
    antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names="all-linear", exclude_names=exclude))
    kinds = "8 layers: 2 k_proj, 2 o_proj, 2 q_proj, 2 v_proj"
    assert require_adapter(model).in_words() == f"{kinds}; all-linear leaves out 2 gate (Qwen3MoeTopKRouter, 4 x 16)"
    antipasto.detach(model)
    names = ["q_proj", "k_proj", "v_proj", "o_proj"]
    antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=names))
    assert require_adapter(model).in_words() == kinds
