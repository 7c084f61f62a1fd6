"""Claims about training the model's own weights: full, layernorm and bitfit."""

import pytest
import torch
from safetensors.torch import load_file
from small_runs import make, small, store_in
from torch import Generator
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.run.attach import attach
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.examples import bucketed_batches, draw_examples
from antipasto_bench.run.export import export_merged, export_peft
from antipasto_bench.run.methods import weights
from antipasto_bench.run.methods.masters import MasterAdamW
from antipasto_bench.run.methods.registry import adapter_for, require_adapter
from antipasto_bench.run.methods.tensor_file import save_tensors
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.store.table import find

LR = 1e-3


def batches_of(run, tokenizer, count: int):
    rows = load_splits(run.data, run.eval).train
    examples = draw_examples(tokenizer, rows, 4 * count, run.data.max_length, Generator().manual_seed(0))
    return list(bucketed_batches(examples, 4, tokenizer.pad_token_id, Generator().manual_seed(0)))


def fresh(dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=dtype).eval()


def bits(model) -> dict[str, int]:
    return antipasto.tensor_checksums(dict(model.named_parameters()))


def test_three_steps_of_every_parameter_are_those_of_plain_adamw_bit_for_bit(tokenizer):
    run = small("full", targets="all", lr=LR, weight_decay=0.1)
    ours, plain = fresh(), fresh()
    attach(run, ours, tokenizer, [])
    steps = AdapterOptimizer(ours, run)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=LR, weight_decay=0.1, fused=True)
    for batch in batches_of(run, tokenizer, 3):
        steps.step([batch], LR)
        (CompletionLoss(plain)(batch) / int((batch["labels"][:, 1:] != -100).sum())).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), run.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    assert bits(ours) == bits(plain)
    assert bits(ours) != bits(fresh())
    assert len(require_adapter(ours).trainable_parameters()) == 46, "tied embeddings are one of them, and the head none"


def test_updates_too_small_for_bfloat16_add_up_in_the_float32_copies():
    """Of weights 1.0 with a constant gradient, AdamW takes lr from each a step; next to 1 bfloat16 tells 2^-8 apart."""
    lr, steps = 1e-4, 100
    weight, naive = (torch.nn.Parameter(torch.ones(1000, dtype=torch.bfloat16)) for _ in range(2))
    ours, theirs = MasterAdamW([weight], lr=lr, weight_decay=0.0), torch.optim.AdamW([naive], lr=lr, weight_decay=0.0)
    for _ in range(steps):
        for parameter, optimizer in ((weight, ours), (naive, theirs)):
            parameter.float().sum().backward()
            assert parameter.grad.dtype == (torch.float32 if optimizer is ours else torch.bfloat16)
            optimizer.step()
            optimizer.zero_grad()
    assert bool((naive == 1).all()), "all of it is lost"
    (master,) = (state["master"] for state in ours.state_dict()["state"].values())
    torch.testing.assert_close(master, torch.full((1000,), 1 - steps * lr), rtol=1e-5, atol=0)
    assert torch.equal(weight, master.bfloat16())
    assert weight[0].item() == 0.98828125, "0.99 to the nearest of bfloat16"


def test_copies_and_moments_come_back_with_the_same_bits(tokenizer):
    run = small("full", lr=LR, dtype="bfloat16")
    batches = batches_of(run, tokenizer, 4)
    whole, resumed = fresh(torch.bfloat16), fresh(torch.bfloat16)
    for model in (whole, resumed):
        attach(run, model, tokenizer, [])
    steps = AdapterOptimizer(whole, run)
    for batch in batches[:2]:
        steps.step([batch], LR)
    state = steps.optimizer.state_dict()
    kept = {index: {name: value.clone() for name, value in values.items()} for index, values in state["state"].items()}
    again = AdapterOptimizer(resumed, run)
    again.optimizer.load_state_dict({"state": kept, "param_groups": again.optimizer.state_dict()["param_groups"]})
    assert bits(resumed) == bits(whole)
    for batch in batches[2:]:
        assert steps.step([batch], LR).read() == again.step([batch], LR).read()
    assert bits(resumed) == bits(whole)


def with_biases(dtype=torch.float32):
    """A small random model that has biases, and a head of its own."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=64, tie_word_embeddings=False)
    return Qwen2ForCausalLM(config).to(dtype).eval()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("variant", "given", "trained"),
    [
        ("full", {"targets": ["q_proj", "lm_head"], "exclude": []}, 2 * (32 * 32 + 32) + 64 * 32),
        ("full", {"targets": "all"}, None),
        ("layernorm", {}, 5 * 32),
        ("bitfit", {}, 2 * (32 + 16 + 16)),
    ],
)
def test_what_is_trained_is_what_it_says_and_disabled_and_detached_is_the_base(
    variant, given, trained, dtype, tmp_path
):
    run, model = small(variant, dtype=dtype, **given), with_biases(getattr(torch, dtype))
    base, ids = bits(model), torch.arange(24).view(2, 12)
    attach(run, model, None, [])
    adapter = require_adapter(model)
    counts = adapter.counts(run)
    assert counts.parameters == (trained or sum(p.numel() for p in model.parameters()))
    assert (counts.macs, counts.saved_bytes) == (0, counts.parameters * getattr(torch, dtype).itemsize)
    optimizer = adapter.optimizer(run)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(5):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    chosen = adapter.trainable_parameters()
    assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} <= {*chosen}
    assert sum(not torch.equal(p, before[n]) for n, p in chosen.items()) > len(chosen) / 2
    after = bits(model)
    with adapter.disabled():
        assert bits(model) == base
        assert not any(p.requires_grad for p in model.parameters())
    assert bits(model) == after
    assert adapter.merge_refusal() is None
    assert adapter.merge_error([]) == 0
    file = adapter.save(tmp_path / "weights.safetensors")
    adapter.detach()
    assert bits(model) == base
    assert all(p.requires_grad for p in model.parameters()), "as it was loaded"
    adapter_for(run, model).load(run, file)
    assert bits(model) == after
    assert {name: t.dtype for name, t in load_file(file).items()} == {n: getattr(torch, dtype) for n in chosen}


@pytest.mark.slow
def test_a_run_of_full_falls_is_recorded_and_is_a_plain_model(tmp_path):
    store, run = store_in(tmp_path), small("full", lr=3e-3, steps=40, batch_size=8)
    assert make(run, store).status == "ok"
    record = find(store.table, run.run_id)
    assert record.last_loss < 0.75 * record.first_loss
    assert record.trained_parameters == 786_432
    assert record.adapter_bytes > 4 * record.trained_parameters
    assert (record.added_macs_per_token, record.merge_error, record.scored_merged) == (0, 0, True)
    folder = export_merged(run.run_id, tmp_path / "merged", store).folder
    exported, trained = load_file(folder / "model.safetensors"), load_file(store.run_folder(run.run_id).adapter)
    assert all(torch.equal(exported[name], tensor) for name, tensor in trained.items())
    rounded = export_merged(run.run_id, tmp_path / "rounded", store, dtype="bfloat16")
    assert 1e-4 < rounded.error < 1, "rounding is measured against what was trained"
    with pytest.raises(UserError, match="full changes the model's own weights, which is no adapter of PEFT's"):
        export_peft(run.run_id, tmp_path / "peft", store)


def test_a_file_has_the_same_bytes_whichever_order_the_settings_came_in(tmp_path):
    """A recorded config has them by name; the command that made the run had them as its preset does."""
    typed = small("full")
    recorded = typed.model_copy(update={"adapter": dict(sorted(typed.adapter.items()))})
    assert list(typed.adapter) != list(recorded.adapter)
    tensors = {"weight": torch.ones(3)}
    files = [save_tensors(tmp_path / str(i), run, tensors).read_bytes() for i, run in enumerate((typed, recorded))]
    assert files[0] == files[1]


def test_what_cannot_be_trained_is_refused_in_a_line(model, monkeypatch):
    with pytest.raises(UserError, match="bitfit: this model has no bias"):
        attach(small("bitfit"), model, None, [])
    with pytest.raises(UserError, match=r"float16, in which its gradients vanish; write dtype=bfloat16 or float32"):
        attach(small("full"), with_biases(torch.float16), None, [])
    with pytest.raises(UserError, match="target_names: no layer is adapted for 'no_proj'"):
        attach(small("full", targets=["q_proj", "no_proj"]), model, None, [])
    with pytest.raises(UserError, match="targets=all is every parameter of the model; leave out layers"):
        small("full", targets="all", layers=[1])
    monkeypatch.setattr(weights, "free_memory", lambda: 10**7)
    with pytest.raises(UserError, match=r"786,432 trained weights take 0\.0 GB, and cpu has 0\.0 GB free; train fewer"):
        attach(small("full"), model, None, [])


@pytest.mark.slow
@pytest.mark.long
def test_codes_are_not_trained_and_norms_over_them_are(tmp_path):
    store = store_in(tmp_path)
    with pytest.raises(UserError, match=r"q_proj.weight is quantised, and its codes cannot be trained"):
        make(small("full", quant="8bit", targets=["q_proj"]), store)
    assert make(small("layernorm", quant="8bit"), store).status == "ok"
