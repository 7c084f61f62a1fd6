"""Claims about every tuner type of PEFT as a variant: nothing of the model, and no bit of the adapter, is lost."""

import copy

import pytest
import torch
from peft_arms import FITTING, tiny_llama

import antipasto
from antipasto_bench.run.methods.registry import adapter_for, adapter_on
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.methods.peft_types import REFUSED, TYPES

peft = pytest.importorskip("peft")

IDS = torch.arange(3, 43).view(2, 20)
BATCH = {"input_ids": IDS, "labels": IDS.clone(), "attention_mask": torch.ones_like(IDS)}
LORA = [
    {"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}, {"init_lora_weights": "mica"}, {"use_dora": True},
    {"lora_dropout": 0.1}, {"kasa_config": {"beta": 1e-4, "gamma": 1e-3}}, {"optimizer": "lora-fa"},
    {"optimizer": "riemannian"}, {"optimizer": "loraplus", "lr_ratio": 4.0}, {"modules_to_save": ["lm_head"]},
    {"trainable_token_indices": [1, 2]}, {"bias": "all", "use_rslora": True},
]  # fmt: skip
OFTEN = ("lora", "vera", "adalora", "prompt_tuning")  # of which one is shared state, one changes ranks, one is tokens
CASES = [
    pytest.param(kind, FITTING.get(kind, {}), id=kind, marks=[] if kind in OFTEN else pytest.mark.long)
    for kind in TYPES
    if kind not in REFUSED
]
CASES += [pytest.param("lora", given, id="-".join(map(str, given.values())), marks=pytest.mark.long) for given in LORA]


def tensors(model):
    return antipasto.tensor_checksums(dict(model.named_parameters()) | dict(model.named_buffers()))


def logits(model):
    torch.manual_seed(0)
    with torch.no_grad():
        return model(input_ids=IDS).logits[:, -IDS.shape[1] :]


def attached(run):
    adapter = adapter_for(run, tiny_llama())
    adapter.attach(run, None, [])
    return adapter


def steps(optimizer, count):
    return [optimizer.step([BATCH], 1e-2).read()[0] for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "given"), CASES)
def test_a_tuner_of_peft_loses_no_bit_of_itself_or_of_the_model(kind, given, tmp_path):
    run = compose(f"peft:{kind}", {"steps": 4, "lr": 1e-2, **given}, "nano")
    plain = tiny_llama()
    before, outputs = tensors(plain), logits(plain)

    adapter = adapter_for(run, tiny_llama())
    random = torch.get_rng_state()
    adapter.attach(run, None, [])
    assert torch.equal(torch.get_rng_state(), random), "its init has a generator of its own"
    with adapter.disabled():
        assert torch.equal(logits(adapter.model), outputs)

    optimizer = AdapterOptimizer(adapter.model, run)
    trained = {id(p) for p in optimizer.parameters}
    frozen = {name: p for name, p in adapter.model.named_parameters() if id(p) not in trained}
    held = antipasto.tensor_checksums(frozen)
    torch.manual_seed(0)
    adapter.model.train()
    steps(optimizer, 2)
    middle = adapter.save(tmp_path / "middle.safetensors")
    state, random = copy.deepcopy(optimizer.optimizer.state_dict()), torch.get_rng_state()
    losses = steps(optimizer, 2)
    assert antipasto.tensor_checksums(frozen) == held
    whole = adapter.save(tmp_path / "whole.safetensors")
    adapter.model.eval()

    again = adapter_for(run, tiny_llama())
    again.load(run, middle)
    optimizer = AdapterOptimizer(again.model, run)
    groups = optimizer.optimizer.state_dict()["param_groups"]
    optimizer.optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    optimizer.taken = 2
    torch.set_rng_state(random)
    again.model.train()
    assert steps(optimizer, 2) == losses
    assert again.save(tmp_path / "again.safetensors").read_bytes() == whole.read_bytes()

    loaded = adapter_for(run, tiny_llama())
    loaded.load(run, whole)
    loaded.model.eval()
    assert torch.equal(logits(loaded.model), logits(adapter.model))
    loaded.detach()
    assert adapter_on(loaded.base) is None
    assert tensors(loaded.base) == before
    assert torch.equal(logits(loaded.base), outputs)

    adapter.export_peft(tmp_path / "exported", "x", None)
    theirs = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path / "exported").eval()
    assert torch.allclose(logits(theirs), logits(adapter.model), atol=1e-5)

    if adapter.merge_refusal() is None:
        unmerged, held = logits(adapter.base), tensors(adapter.base)
        assert adapter.merge_error([{"input_ids": IDS}]) < 1e-4
        adapter.merge()
        merged = logits(adapter.base)
        adapter.unmerge()
        assert tensors(adapter.base) == held
        assert torch.equal(logits(adapter.base), unmerged)
        adapter.merge()
        adapter.detach(keep_merged=True)
        assert torch.equal(logits(adapter.base), merged)
        assert dict(adapter.base.named_parameters()).keys() == dict(plain.named_parameters()).keys()


MACS = [
    ("lora", {"rank": 8, "targets": [".*_proj"]}),
    ("dora", {"rank": 4, "targets": ["q_proj", "down_proj"]}),
    ("ia3_ff", {"targets": ["down_proj"]}),
]


@pytest.mark.parametrize(("variant", "given"), MACS)
def test_multiply_accumulates_that_are_counted_are_those_of_the_formula(variant, given):
    ours = attached(compose(variant, given, "nano")).counts(compose(variant, given, "nano"))
    kind, more = {
        "lora": ("lora", {}),
        "dora": ("lora", {"use_dora": True}),
        "ia3_ff": ("ia3", {"feedforward_modules": ["down_proj"]}),
    }[variant]
    run = compose(f"peft:{kind}", given | more, "nano")
    theirs = attached(run).counts(run)
    assert (theirs.macs, theirs.parameters, theirs.targets) == (ours.macs, ours.parameters, ours.targets)


def test_a_penalty_is_the_one_that_pefts_own_forward_adds_to_a_loss():
    run = compose("peft:adalora", {"steps": 4, **FITTING["adalora"]}, "nano")
    adapter = attached(run)
    with torch.no_grad():
        plain = adapter.base(input_ids=IDS, labels=IDS).loss
        theirs = adapter.peft(input_ids=IDS, labels=IDS).loss
    assert theirs > plain + 0.1
    assert float(adapter.penalty()) == pytest.approx(float(theirs - plain), rel=1e-5)
