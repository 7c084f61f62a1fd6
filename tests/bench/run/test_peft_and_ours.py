"""Claims about methods that PEFT has and the library too: from one start, an arm of either is the same run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_runs import make, small, store_in
from torch import Generator

import antipasto
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.examples import bucketed_batches, drawn_examples
from antipasto_bench.run.generate import Scorer
from antipasto_bench.run.methods.registry import adapter_for
from antipasto_bench.run.models import load_model
from antipasto_bench.run.train import TrainingControl, train
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.table import find, read_records

peft = pytest.importorskip("peft")

SAME = {"steps": 12, "batch_size": 4, "lr": 5e-3, "rank": 8, "alpha": 16, "targets": ["q_proj", "down_proj"]}
SCORED = {"eval.limit": 24, "eval.valid": "none", "eval.general": "none"}


def attached(run):
    base, tokenizer = load_model(run)
    adapter = adapter_for(run, base)
    adapter.attach(run, tokenizer, [])
    return adapter, tokenizer


def curve_and_answers(run, adapter, tokenizer):
    """The loss of each step, and right or wrong of every question."""
    splits = load_splits(run.data, run.eval)
    examples = drawn_examples(run, tokenizer, splits)
    batches = bucketed_batches(examples, run.batch_size, tokenizer.pad_token_id, Generator().manual_seed(run.seed))
    losses: list[float] = []
    train(adapter.model, run, batches, TrainingControl(on_step=lambda step: losses.append(step.loss)))
    scores = Evaluation(run.eval, None).run(adapter.model, tokenizer, "test")
    return losses, [(item.doc_id, item.filter, item.score) for item in scores.items]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "more"), [("lora", {}), ("dora", {"use_dora": True})])
def test_pefts_lora_trains_and_answers_as_ours(variant, more):
    ours = compose(variant, SAME | SCORED, "nano")
    theirs = compose("peft:lora", SAME | SCORED | more, "nano")
    own, tokenizer = attached(ours)
    other, _ = attached(theirs)
    with torch.no_grad():
        for path, layer in other._layers().items():
            target = antipasto.attachment(own.base).targets[path]
            layer.lora_A["default"].weight.copy_(target.lora_A)
            assert not layer.lora_B["default"].weight.any()
    losses, answers = curve_and_answers(ours, own, tokenizer)
    their_losses, their_answers = curve_and_answers(theirs, other, tokenizer)
    assert their_losses == pytest.approx(losses, abs=1e-5)
    assert all(layer.lora_B["default"].weight.any() for layer in other._layers().values())
    assert their_answers == answers


QUESTIONS = [
    "Question: Tom has 3 apples and buys 12 more. How many does he have?\nAnswer:",
    "Question: 2+2?\nAnswer:",
    "Question: A train goes 20 miles in 2 hours, and then 7 hours more. How far does it go at this speed?\nAnswer:",
]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["hf", "static", "continuous"])
@pytest.mark.parametrize("kind", ["prefix_tuning", "prompt_tuning", "p_tuning"])
def test_answers_behind_virtual_tokens_are_those_of_peft_row_by_row(kind, backend):
    given = {"num_virtual_tokens": 5, "eval.backend": backend, "eval.batch_size": 3}
    adapter, tokenizer = attached(compose(f"peft:{kind}", given, "nano"))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.trainable_parameters().values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model, most = adapter.model.eval(), 24
    scorer = Scorer(model, tokenizer, compose(f"peft:{kind}", given, "nano").eval)
    settings = {"until": ["\n\n"], "do_sample": False, "max_gen_toks": most}
    answers = scorer.generate_until([SimpleNamespace(args=(text, settings)) for text in QUESTIONS], disable_tqdm=True)
    ends, pad = scorer._end_ids, tokenizer.pad_token_id
    likelihoods = []
    for text, answer in zip(QUESTIONS, answers, strict=True):
        ids = torch.tensor([scorer.tok_encode(text)])
        alone = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False,
            eos_token_id=ends, pad_token_id=pad,
        )  # fmt: skip
        assert answer == tokenizer.decode(alone[0, ids.shape[1] :], skip_special_tokens=True).split("\n\n")[0]
        end = tokenizer.encode(" 4 apples", add_special_tokens=False)
        whole = torch.cat([ids, torch.tensor([end])], dim=1)
        with torch.no_grad():
            logits = model(input_ids=whole, use_cache=False).logits.log_softmax(-1)[0, -len(end) - 1 : -1]
        likelihoods.append(float(logits.gather(1, torch.tensor(end)[:, None]).sum()))
    if backend == "hf":
        rows = [((text, ""), scorer.tok_encode(text), end) for text in QUESTIONS]
        values = scorer._loglikelihood_tokens(rows, disable_tqdm=True)
        assert [value for value, _ in values] == pytest.approx(likelihoods, abs=1e-4)


@pytest.mark.slow
def test_a_run_of_peft_is_recorded_and_its_folder_is_pefts(tmp_path: Path):
    from antipasto_bench.run.export import export_merged, export_peft

    run = small("peft:vera", rank=8, **{"eval.limit": 4, "eval.valid": "none"})
    store = store_in(tmp_path)
    assert make(run, store).status == "ok"
    record = find(store.table, run.run_id)
    assert (record.variant, record.rank, record.config.adapter) == ("peft:vera", 8, run.adapter)
    assert record.provenance.packages["peft"] == peft.__version__
    assert read_records(store.table) == [record]
    ids = torch.arange(20)[None]
    base, _ = load_model(run)
    theirs = peft.PeftModel.from_pretrained(base, export_peft(run.run_id, tmp_path / "peft", store)).eval()
    merged = export_merged(run.run_id, tmp_path / "merged", store)
    plain, _ = load_model(run.model_copy(update={"model": str(merged.folder)}))
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, plain(ids).logits, atol=1e-4)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("quant", ["8bit", "4bit"])
def test_a_tuner_of_peft_on_a_quantised_base_is_scored_unmerged_and_costed(quant, tmp_path: Path):
    run = small("peft:vera", quant=quant, **{"costs": True, "eval.limit": 4, "eval.valid": "none"})
    store = store_in(tmp_path)
    assert make(run, store).status == "ok"
    record = find(store.table, run.run_id)
    assert record.scored_merged is False
    assert record.forward_ms > 0
    assert record.merge_s is None
