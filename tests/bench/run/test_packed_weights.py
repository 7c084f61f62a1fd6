"""Claims about weights laid out once for all answers: the products are what they were, and nothing is left behind."""

from types import SimpleNamespace

import pytest
import torch
from small_runs import answers_of, make, small, store_in
from torch import nn

import antipasto
from antipasto_bench.core import compat
from antipasto_bench.run import generate, packed_weights
from antipasto_bench.run.models import load_model
from antipasto_bench.spec.compose import compose

known = pytest.mark.skipif(
    compat.packed_product(nn.Linear(32, 32, dtype=torch.bfloat16)) is None, reason="this processor has no such product"
)


def layers_of(*sizes, dtype=torch.bfloat16, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(d_in, d_out, bias=bias, dtype=dtype) for d_in, d_out in sizes))


def replaced(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@known
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (2, 3, 48), (300, 48)])
@torch.no_grad()
def test_a_layer_gives_what_it_gives_without(shape, bias):
    model = layers_of((48, 64), (64, 30), bias=bias)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    expected = model(x)
    with packed_weights.packed_weights(model):
        assert replaced(model) == ["0", "1"]
        torch.testing.assert_close(model(x), expected)
        strided = x.new_zeros(*shape[:-1], 96)[..., ::2].copy_(x)
        torch.testing.assert_close(model(strided), expected)
    assert replaced(model) == []
    assert torch.equal(model(x), expected)


@known
@torch.no_grad()
def test_it_multiplies_by_the_weights_of_the_day_and_leaves_none_behind_after_an_error():
    model = layers_of((16, 16))
    x = torch.ones(2, 16, dtype=torch.bfloat16)
    model[0].weight.mul_(2)
    expected = model(x)

    def fail():
        with packed_weights.packed_weights(model):
            torch.testing.assert_close(model(x), expected)
            raise ValueError("the block failed")

    with pytest.raises(ValueError, match="the block failed"):
        fail()
    assert replaced(model) == []


@known
@pytest.mark.parametrize("variant", ["lora", "antipasto", "pissa"])
@torch.no_grad()
def test_an_adapter_on_the_layers_works_on(variant):
    model, _ = load_model(compose("base", {"dtype": "bfloat16"}, "nano"))
    antipasto.attach(model.eval(), antipasto.CONFIGS[variant](r=8, target_names=(".*_proj",)))
    for parameter in antipasto.trainable_parameters(model).values():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    ids = torch.arange(1, 31).view(2, 15)
    adapted = model(ids).logits
    with antipasto.disabled(model):
        base = model(ids).logits
    with packed_weights.packed_weights(model):
        assert len(replaced(model)) == 29, "seven layers of each of four blocks, and the head"
        given = model(ids).logits
    assert (given - adapted).norm() <= 0.02 * (adapted - base).norm()


@torch.no_grad()
def test_what_is_no_plain_product_in_bfloat16_on_a_cpu_is_left_alone(monkeypatch):
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    moved = nn.Linear(8, 8, dtype=torch.bfloat16)
    moved._hf_hook = object()
    model = nn.Sequential(
        nn.Linear(8, 8), Own(8, 8, dtype=torch.bfloat16), nn.Linear(8, 8, dtype=torch.bfloat16, device="meta"), moved
    )
    with packed_weights.packed_weights(model):
        assert replaced(model) == []
    plain = layers_of((8, 8))
    monkeypatch.setattr(packed_weights, "free_memory", lambda: 4 * 2 * 64 - 1)
    with packed_weights.packed_weights(plain):
        assert replaced(plain) == [], "copies would take more than a quarter of the free memory"


@known
def test_a_weight_of_two_layers_is_counted_once(monkeypatch):
    model = layers_of((8, 8), (8, 8))
    model[1].weight = model[0].weight
    monkeypatch.setattr(packed_weights, "free_memory", lambda: 4 * 2 * 64)
    with packed_weights.packed_weights(model):
        assert replaced(model) == ["0", "1"]


@pytest.mark.slow
def test_answers_are_those_of_plain_products(tmp_path, monkeypatch):
    answers = []
    for memory in (None, 0):
        if memory is not None:
            monkeypatch.setattr(packed_weights, "free_memory", lambda: 0)
        run, store = small("lora", dtype="bfloat16"), store_in(tmp_path / str(memory))
        make(run, store)
        answers.append(answers_of(run.run_id, store))
    same = sum(one == other for one, other in zip(*answers, strict=True))
    assert same >= 0.9 * len(answers[0]), "but for ties in the last bit on other processors"


def test_answers_are_generated_by_them(model, tokenizer, monkeypatch):
    seen = []
    monkeypatch.setattr(
        generate, "packed_weights", lambda given: seen.append(given) or packed_weights.packed_weights(given)
    )
    run = compose("base", {"eval.batch_size": 2}, "nano")
    lm = generate.Scorer(model, tokenizer, run.eval)
    settings = {"until": [], "do_sample": False, "max_gen_toks": 2}
    lm.generate_until([SimpleNamespace(args=("Question: 1+1?", settings))], disable_tqdm=True)
    assert seen == [model]
