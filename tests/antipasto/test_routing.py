"""Claims about gradient routing: what is zeroed comes back, what is routed trains alone, the reference is the base."""

import copy

import pytest
import torch
from tiny_model import ALL, attach, randomise
from transformers import Qwen3Config, Qwen3ForCausalLM

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig, DeltaSConfig, LoRAConfig


def test_zeroed_is_the_model_without_it_and_comes_back_bit_for_bit(tiny):
    x = torch.randn(5, 20)
    base = tiny(x)
    attach(tiny, DeltaSConfig(target_names=ALL))
    randomise(tiny)
    full, before = tiny(x), {n: p.detach().clone() for n, p in antipasto.trainable_parameters(tiny).items()}
    with antipasto.zeroed(tiny, "lora_delta_s_hack"):
        part = tiny(x)
        assert not torch.equal(part, full)
        assert not torch.equal(part, base)
    with antipasto.zeroed(tiny, "lora_delta_s", "lora_delta_s_hack"):
        assert torch.equal(tiny(x), base), "with both at zero it is the base model"
    assert torch.equal(tiny(x), full)
    assert all(torch.equal(p, before[n]) for n, p in antipasto.trainable_parameters(tiny).items())
    antipasto.merge(tiny)
    with antipasto.zeroed(tiny, "lora_delta_s_hack"):
        assert torch.allclose(tiny(x), part, atol=1e-5)
    assert torch.allclose(tiny(x), full, atol=1e-5)


def test_zeroed_comes_back_after_an_error(tiny):
    attach(tiny, DeltaSConfig(target_names=ALL))
    randomise(tiny)
    before = tiny.lin1.lora_delta_s.detach().clone()
    with pytest.raises(RuntimeError, match="inside"), antipasto.zeroed(tiny, "lora_delta_s"):
        raise RuntimeError("inside")
    assert torch.equal(tiny.lin1.lora_delta_s, before)


def test_routed_sends_the_gradient_of_one_half_to_the_quarantine_alone(tiny):
    attach(tiny, DeltaSConfig(target_names=ALL))
    x = torch.randn(8, 20)
    with antipasto.routed(tiny, "lora_delta_s"):
        tiny(x[:4]).square().sum().backward()
    expected = tiny.lin1.lora_delta_s.grad.clone()
    assert tiny.lin1.lora_delta_s_hack.grad is None
    with antipasto.routed(tiny, "lora_delta_s_hack"):
        tiny(x[4:]).square().sum().backward()
    assert torch.equal(tiny.lin1.lora_delta_s.grad, expected), "the second half left the first alone"
    assert tiny.lin1.lora_delta_s_hack.grad.abs().sum() > 0
    assert all(p.requires_grad for p in antipasto.trainable_parameters(tiny).values())


def test_an_unknown_name_is_one_clear_error(tiny):
    attach(tiny, LoRAConfig(r=2, target_names=ALL))
    for context in (antipasto.zeroed, antipasto.routed):
        with (
            pytest.raises(AdapterError, match=r"trains no 'lora_delta_s_hack'.*known: lora_A, lora_B"),
            context(tiny, "lora_delta_s_hack"),
        ):
            pass


@pytest.mark.parametrize("cfg", [DeltaSConfig(), AntiPaSTOConfig(r=8), antipasto.PiSSAConfig(r=4)])
def test_reference_logprobs_are_those_of_an_untouched_copy(cfg):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, attention_dropout=0.5,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).train()
    copied = copy.deepcopy(model).eval()
    antipasto.attach(model, cfg)
    randomise(model)
    ids = torch.randint(50, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    logprobs = antipasto.reference_logprobs(model, ids, mask)
    with torch.no_grad():
        logits = copied(ids, attention_mask=mask).logits
    expected = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    assert logprobs.shape == (3, 8)
    assert torch.allclose(logprobs, expected, atol=1e-6)
    assert not logprobs.requires_grad
    assert model.training, "the mode it was in is back"
