"""Claims about what is scored: the model that was trained, and merged weights only where they compute the same."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from small_runs import make, small, store_in

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.run import execute, vllm_scoring
from antipasto_bench.run.active_run import ActiveRun
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.export import attach_trained
from antipasto_bench.run.models import load_model
from antipasto_bench.run.open_rows import OpenRows
from antipasto_bench.run.progress import Progress
from antipasto_bench.run.remeasure import remeasure
from antipasto_bench.run.score import score
from antipasto_bench.run.workspace import Workspace
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import find

pytestmark = [pytest.mark.slow, pytest.mark.long]

GENERAL = "benchmark/data/nano/general.jsonl"


def scoring(variant, tmp_path, **given):
    """A run whose adapter has been changed a little, ready to be scored."""
    run = small(variant, **given)
    context = RunContext(store_in(tmp_path), Progress(quiet=True))
    workspace = Workspace(context.store.workspace(run.run_id), run)
    workspace.begin()
    model, tokenizer = load_model(run)
    if variant != "base":
        antipasto.attach(model, run.adapter_config, generator=torch.Generator().manual_seed(0))
        for parameter in antipasto.trainable_parameters(model).values():
            parameter.data += 1e-3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    active = ActiveRun(run, context, workspace, RunRecord.of(run, run.run_id))
    return active, model, tokenizer, Evaluation(run.eval, None)


def test_in_bfloat16_small_changes_are_scored_unmerged(tmp_path):
    run = small("lora", dtype="bfloat16", **{"eval.valid": "none", "eval.limit": 16})
    store = store_in(tmp_path)
    record = make(run, store).record
    assert record.scored_merged is False
    assert record.merge_error > 0.01
    lines = store.run_folder(run.run_id).samples.read_text().splitlines()
    answers = {(sample["doc_id"], sample["filter"]): sample["response"] for sample in map(json.loads, lines)}
    model, tokenizer = load_model(run)
    attach_trained(model, record, store)
    unmerged = Evaluation(run.eval, None).run(model, tokenizer, "test")
    assert answers == {(sample["doc_id"], sample["filter"]): sample["response"] for sample in unmerged.samples}


def test_in_float32_merged_weights_are_scored(tmp_path):
    record = make(small("lora", **{"eval.valid": "none", "eval.limit": 8}), store_in(tmp_path)).record
    assert record.scored_merged is True
    assert 0 < record.merge_error < 1e-3


def test_the_bound_is_a_setting_and_without_one_merged_weights_are_scored(tmp_path):
    given = {"dtype": "bfloat16", "eval.limit": 4, "eval.valid": "none"}
    errors = []
    for bound, merged in ((0.01, False), (1e6, True), (None, True)):
        active, model, tokenizer, evaluation = scoring("lora", tmp_path, **given, **{"eval.merge_bound": bound})
        score(active, model, tokenizer, evaluation)
        assert active.record.scored_merged is merged
        errors.append(active.record.merge_error)
        assert not antipasto.attachment(model).merged
    assert errors[0] == errors[1] == errors[2] > 0.01


def test_a_resume_takes_no_answer_of_merged_weights_for_one_of_unmerged(tmp_path, monkeypatch):
    """The error of merging is measured anew, and may fall on the other side of the bound."""
    active, model, tokenizer, evaluation = scoring("lora", tmp_path, **{"eval.limit": 8, "eval.valid": "none"})
    answers, merged = OpenRows.answers, []

    def noted(self, rows):
        merged.append(antipasto.attachment(model).merged)
        return answers(self, rows)

    monkeypatch.setattr(OpenRows, "answers", noted)
    for error, batches in ((0.0099, [True]), (0.0099, [True]), (0.0101, [True, False])):
        monkeypatch.setattr(antipasto, "merge_error", lambda *given, error=error: error)
        score(active, model, tokenizer, evaluation)
        assert merged == batches


def test_the_error_of_merging_is_measured_on_solutions():
    """Of a row that was held out too, whose reference is its number alone."""
    run = small("lora", **{"eval.valid": "holdout"})
    valid = load_splits(run.data, run.eval).valid
    texts = Evaluation(run.eval, valid).sample_texts(5)
    assert len(texts) == 5
    for text, question, response in zip(texts, valid["question"], valid["response"], strict=False):
        assert question in text
        assert text.endswith(response)
        assert len(response) > 30
    test = Evaluation(run.eval, None)
    assert test.sample_texts(2)[0].endswith(test.test[0].eval_docs[0]["answer"])


@pytest.mark.parametrize(("variant", "merged"), [("base", None), ("sspace", False)])
def test_what_cannot_be_merged_has_no_error_of_merging(tmp_path, variant, merged):
    record = make(small(variant, **{"eval.valid": "none", "eval.limit": 4}), store_in(tmp_path)).record
    assert record.scored_merged is merged
    assert record.merge_error is None


def test_vllm_does_not_score_merged_weights_that_are_far_from_what_was_trained(tmp_path, monkeypatch):
    """No row says that this learning rate failed, so none is chosen without it; the trained adapter stays."""
    monkeypatch.setattr(execute, "check_backend", lambda *arguments: None)
    given = {"dtype": "bfloat16", "eval.limit": 4, "eval.valid": "none", "eval.backend": "vllm"}
    run, store = small("lora", **given), store_in(tmp_path)
    with pytest.raises(UserError, match=r"eval.merge_bound=0.01.*eval.backend=hf or dtype=float32") as failure:
        make(run, store)
    assert "\n" not in str(failure.value)
    assert str(failure.value).startswith(run.run_id)
    assert find(store.table, run.run_id) is None
    assert Workspace(store.workspace(run.run_id), run).trained() is not None


@pytest.mark.parametrize(
    ("error", "by", "said"),
    [
        (ValueError("No available memory for the cache blocks. Try more"), "machine", "out of memory: vLLM: No avail"),
        (
            ValueError("To serve one request, 2 GiB KV cache is needed, which is more than there is"),
            "machine",
            "out of memory: vLLM: To serve",
        ),
        (OSError("cannot be read"), "machine", "RuntimeError: vLLM: cannot be read"),
        (ValueError("Model architectures ['X'] are not supported for now"), "run", "vLLM: Model architectures ['X']"),
    ],
)
def test_only_a_model_that_vllm_does_not_know_fails_by_itself_and_else_the_adapter_is_not_trained_again(
    error, by, said, tmp_path, monkeypatch
):
    def start(*arguments, **options):
        raise error

    monkeypatch.setitem(sys.modules, "lm_eval.models.vllm_causallms", SimpleNamespace(VLLM=start))
    monkeypatch.setattr(execute, "check_backend", lambda *arguments: None)
    monkeypatch.setattr(vllm_scoring, "free_on_gpu", lambda device: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=1))
    run = small("lora", **{"eval.limit": 4, "eval.valid": "none", "eval.backend": "vllm"})
    store = store_in(tmp_path)
    assert make(run, store).status == "failed"
    record = find(store.table, run.run_id)
    assert record.failed_by == by
    assert record.error.startswith(said)
    assert (Workspace(store.workspace(run.run_id), run).trained() is not None) == (by == "machine")


def test_forgetting_measured_again_is_that_of_the_trained_model(tmp_path):
    """In bfloat16 a merged model has another loss."""
    run = small("lora", dtype="bfloat16", **{"eval.general": GENERAL, "eval.general_limit": 40, "eval.limit": 4})
    store = store_in(tmp_path)
    before = make(run, store).record.general_loss
    assert remeasure(run.run_id, store).general_loss == before
