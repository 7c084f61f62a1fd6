"""Claims about padding, on a real language model: on which side it stands changes no choice that data make."""

import pytest
import torch
from tiny_model import name_of
from transformers import Qwen3Config, Qwen3ForCausalLM

import antipasto

TARGETS = (".*_proj",)
CONFIGS = [
    *(antipasto.AntiPaSTOConfig(r=4, basis=basis, target_names=TARGETS) for basis in ("wanda", "asvd", "corda")),
    antipasto.EVAConfig(r=4, target_names=TARGETS),
    antipasto.SSpaceConfig(r=4, target_names=TARGETS),
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).double()


def batches(texts: list[torch.Tensor], side: str) -> list[dict[str, torch.Tensor]]:
    if side == "none":
        return [{"input_ids": text[None]} for text in texts]
    longest = max(map(len, texts))
    ids, mask = torch.full((len(texts), longest), 7), torch.zeros(len(texts), longest, dtype=torch.long)
    for row, text in enumerate(texts):
        place = slice(longest - len(text), None) if side == "left" else slice(len(text))
        ids[row, place], mask[row, place] = text, 1
    return [{"input_ids": ids, "attention_mask": mask}]


@pytest.mark.parametrize("cfg", CONFIGS, ids=name_of)
def test_left_right_and_unpadded_batches_of_one_text_choose_the_same(model, cfg):
    torch.manual_seed(1)
    texts, others = ([torch.randint(50, (n,)) for n in (17, 9, 23, 12)] for _ in range(2))
    states = []
    for side in ("none", "left", "right"):
        data = batches(texts, side)
        if cfg.variant == "sspace":
            data = antipasto.Contrast(data, batches(others, side))
        antipasto.attach(model, cfg, data, generator=torch.Generator().manual_seed(0))
        name = {"eva": "lora_A", "sspace": "lora_d"}.get(cfg.variant, "lora_Vh")
        states.append({key: value.clone() for key, value in model.state_dict().items() if key.endswith(name)})
        antipasto.detach(model)
    for other in states[1:]:
        for key, value in states[0].items():
            rows, others_rows = value.reshape(-1, value.shape[-1]), other[key].reshape(-1, value.shape[-1])
            sign = (rows * others_rows).sum(1, keepdim=True).sign()  # of a singular vector: LAPACK's whim
            assert torch.allclose(rows, sign * others_rows, atol=1e-5 * float(rows.abs().max())), key
