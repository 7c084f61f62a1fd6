"""Claims about held-out loss: it is transformers' own loss of the reference solutions, question by question."""

import math
import signal
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from small_runs import SMALL, make, result_of, small, store_in

import antipasto
from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.report.words import reading
from antipasto_bench.run import completion_loss, heldout_loss
from antipasto_bench.run import execute as execute_module
from antipasto_bench.run.data import load_splits
from antipasto_bench.run.evaluate import Evaluation
from antipasto_bench.run.examples import Example, encode
from antipasto_bench.run.heldout_loss import measure_heldout_losses, reference_losses, reference_solution
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import EvalConfig
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.items import grouped, headline_of, headline_scores, token_losses, weighted_token_loss


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Forty test questions of the embedded world with their solutions."""
    run = compose("base", {}, "nano")
    references = heldout_loss._references_of_task(Evaluation(run.eval, None).test[0], 40)
    assert references is not None
    return references


def active(phases: list[str] | None = None):
    """What `measure_heldout_losses` reads of a run under way."""
    said = [] if phases is None else phases
    return SimpleNamespace(
        context=SimpleNamespace(progress=SimpleNamespace(phase=said.append), group=heldout_loss.ALONE)
    )


def with_lora(model, scale: float):
    """An adapter whose parameters are not at rest."""
    antipasto.attach(model, antipasto.LoRAConfig(r=4, target_names=["down_proj", "q_proj"]))
    generator = torch.Generator().manual_seed(0)
    for parameter in antipasto.trainable_parameters(model).values():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator).to(parameter)


# the text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("1+1=<<1+1=2>>2.\n#### 2", "1+1=2.\n#### 2\nThe answer is: 2"),
        ("<<3*4=12>>12, then <<12-2=10>>10\n#### 10", "12, then 10\n#### 10\nThe answer is: 10"),
        ("so 1,234\n#### 1,234", "so 1,234\n#### 1,234\nThe answer is: 1,234"),
        ("it is -5  \n#### -5 \n", "it is -5\n#### -5\nThe answer is: -5"),
        ("a\r\nb <<1=1>>\r\n#### 7\r\n", "a\nb\n#### 7\nThe answer is: 7"),
        ("6.\n#### 6\nThe answer is: 6", "6.\n#### 6\nThe answer is: 6"),
        ("#### 6\nThe answer is: 16", "#### 6\nThe answer is: 16\nThe answer is: 6"),
        ("####3", "####3\nThe answer is: 3"),
        ("first #### 1\nthen\n#### 2", "first #### 1\nthen\n#### 2\nThe answer is: 2"),
        ("no number", None),
        ("#### ", None),
    ],
)
def test_a_reference_is_written_as_metamathqa_writes_responses(answer, text):
    assert reference_solution(answer) == text


def test_held_out_questions_are_measured_on_their_own_responses():
    """And nothing but question and answer reaches the task that scores them."""
    run = compose("lora", {"eval.valid": "holdout", "eval.valid_limit": 20}, "nano")
    splits = load_splits(run.data, run.eval)
    references = heldout_loss.references_of_valid(splits.valid)
    held_out = pl.read_parquet(run.data.train).filter(pl.col("query").is_in(references["query"].implode()))
    own = {
        row["query"]: row["response"] for row in held_out.unique("query", keep="first", maintain_order=True).to_dicts()
    }
    assert len(references) == 20
    assert [own[query] for query in references["query"]] == references["response"].to_list()
    (task,) = Evaluation(run.eval, splits.valid).valid
    assert set(task.eval_docs[0]) == {"question", "answer"}


def test_a_task_of_another_schema_has_no_loss(model, tokenizer):
    evaluation = SimpleNamespace(
        test=[SimpleNamespace(eval_docs=[{"question": "q", "answer": "#### 1"}, {"question": "q", "choices": [1]}])],
        config=EvalConfig(tasks=("nano_metamath",)),
    )
    assert measure_heldout_losses(active(), model, tokenizer, evaluation, None) == {}


# the number


def by_transformers(model, tokenizer, rows) -> tuple[list[float], list[int]]:
    """Nats and tokens of each row by transformers' own loss, one row at a time."""
    nats, tokens = [], []
    with torch.no_grad():
        for example in encode(tokenizer, rows):
            ids = torch.tensor([example.ids])
            labels = ids.clone()
            labels[:, : example.prompt_length] = -100
            tokens.append(len(example.ids) - example.prompt_length)
            nats.append(float(model(input_ids=ids, labels=labels).loss) * tokens[-1])
    return nats, tokens


@pytest.mark.parametrize("head", ["hidden states", "logits"])
def test_it_is_transformers_own_loss_question_by_question(head, model, tokenizer, rows, monkeypatch):
    """Whether logits are computed from the hidden states of labelled tokens, or by the model itself."""
    if head == "logits":
        monkeypatch.setattr(completion_loss, "plain_head", lambda model: None)
    monkeypatch.setattr(completion_loss, "LOGITS_BYTES", 4 * 4096 * 7)  # several chunks a batch
    with_lora(model.double(), 0.1)
    try:
        nats, tokens = reference_losses(model, tokenizer, rows)
        expected, counts = by_transformers(model, tokenizer, rows)
    finally:
        antipasto.detach(model)
        model.float()
    assert tokens.tolist() == counts
    assert nats == pytest.approx(np.array(expected), rel=1e-6)  # transformers rounds logits to float32
    assert encode(tokenizer, rows[:1])[0].ids[-1] == tokenizer.eos_token_id, "the end token is one of them"


def test_it_does_not_depend_on_the_batch_size(model, tokenizer, rows, monkeypatch):
    losses = []
    for most in (1, 500, 4096, 10**6):
        monkeypatch.setattr(heldout_loss, "BATCH_TOKENS", most)
        losses.append(weighted_token_loss(*reference_losses(model, tokenizer, rows))[0])
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)


def test_a_batch_holds_little_padding_and_every_solution_stands_in_one():
    """Few questions of very different lengths, where batches of 4096 tokens would be a fifth padding."""
    lengths = np.random.default_rng(0).permutation([*range(70, 270, 4), *[400] * 9, 5000, 10])
    examples = [Example([1] * int(n), 10, "", "") for n in lengths]
    batches = heldout_loss._batches(examples)
    assert sorted(i for batch in batches for i in batch) == [i for i, n in enumerate(lengths) if n > 10]
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert len(batch) == 1 or padded <= heldout_loss.BATCH_TOKENS
        assert padded - sum(lengths[i] for i in batch) <= heldout_loss.BATCH_PADDING
    assert len(batches) < len(lengths) / 4, "batches are not torn apart"


def test_a_long_measurement_says_how_far_it_is(model, tokenizer, monkeypatch):
    monkeypatch.setattr(heldout_loss, "SECONDS_A_LINE", 0)
    monkeypatch.setattr(heldout_loss, "BATCH_TOKENS", 1000)
    said = []
    evaluation = Evaluation(EvalConfig(tasks=("nano_metamath",), limit=20), None)
    losses = measure_heldout_losses(active(said), model, tokenizer, evaluation, None)
    assert len(losses["test"].items) == 2 * 20
    assert said[0] == "test loss"
    count = len(said) - 1
    assert count > 1
    assert [line.split(" batches, ")[0] for line in said[1:]] == [f"test loss: {i + 1}/{count}" for i in range(count)]
    assert said[-1].endswith(" batches, 0 s to go")


def test_a_lack_of_memory_halves_the_batch_and_not_the_questions(model, tokenizer, rows, monkeypatch):
    whole, _ = reference_losses(model, tokenizer, rows)
    of_tokens = completion_loss.CompletionLoss.of_tokens
    sizes = []

    def small_memory(self, batch):
        sizes.append(len(batch["labels"]))
        if sizes[-1] > 5:
            raise torch.OutOfMemoryError("out of memory")
        return of_tokens(self, batch)

    monkeypatch.setattr(completion_loss.CompletionLoss, "of_tokens", small_memory)
    assert reference_losses(model, tokenizer, rows)[0] == pytest.approx(whole, rel=1e-5)
    assert max(sizes) > 5 >= min(sizes)


def test_the_unmerged_model_has_the_loss_of_the_merged_one(model, tokenizer, rows):
    with_lora(model, 0.1)
    try:
        unmerged, tokens = reference_losses(model, tokenizer, rows)
        antipasto.merge(model)
        merged, _ = reference_losses(model, tokenizer, rows)
        antipasto.unmerge(model)
    finally:
        antipasto.detach(model)
    without, _ = reference_losses(model, tokenizer, rows)
    assert merged.sum() / tokens.sum() == pytest.approx(unmerged.sum() / tokens.sum(), abs=1e-5)
    assert abs(without.sum() - unmerged.sum()) / tokens.sum() > 0.1, "the adapter does something"


def test_long_solutions_are_whole_up_to_the_models_positions(model, tokenizer, rows, monkeypatch):
    longest = max(len(example.ids) for example in encode(tokenizer, rows))
    whole, tokens = reference_losses(model, tokenizer, rows)
    monkeypatch.setattr(model.config, "max_position_embeddings", longest - 3)
    with pytest.warns(UserWarning, match=rf"^\d+ reference solutions are longer than the {longest - 3} positions"):
        cut, counts = reference_losses(model, tokenizer, rows)
    assert (tokens - counts).max() == 3
    unchanged = counts == tokens
    assert cut[unchanged] == pytest.approx(whole[unchanged], rel=1e-5)
    assert (cut[~unchanged] < whole[~unchanged]).all()
    shortest_prompt = min(example.prompt_length for example in encode(tokenizer, rows))
    monkeypatch.setattr(model.config, "max_position_embeddings", shortest_prompt)
    with pytest.warns(UserWarning, match="40 reference solutions"):
        nats, counts = reference_losses(model, tokenizer, rows)
    assert nats.sum() == counts.sum() == 0, "no completion token is left"
    assert weighted_token_loss(nats, counts) == (None, None)


def test_a_loss_that_is_not_finite_is_not_recorded(model, tokenizer, rows, monkeypatch):
    def half_undefined(model, tokenizer, rows, group, on_batch):
        nats, tokens = np.ones(len(rows)), np.ones(len(rows))
        nats[::2] = math.nan
        return nats, tokens

    monkeypatch.setattr(heldout_loss, "reference_losses", half_undefined)
    evaluation = Evaluation(EvalConfig(tasks=("nano_metamath",), limit=30), None)
    with pytest.warns(UserWarning, match="test loss is not recorded: it is not finite for 15 questions"):
        assert measure_heldout_losses(active(), model, tokenizer, evaluation, None) == {}


# the standard error, the items


def test_the_standard_error_is_that_of_resampled_questions():
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 200, size=300).astype(float)
    nats = tokens * rng.gamma(4.0, 0.1, size=300)
    loss, stderr = weighted_token_loss(nats, tokens)
    assert loss == pytest.approx(nats.sum() / tokens.sum())
    drawn = rng.integers(0, 300, size=(4000, 300))
    assert stderr == pytest.approx((nats[drawn].sum(1) / tokens[drawn].sum(1)).std(), rel=0.05)
    assert weighted_token_loss(nats, np.full(300, 7.0))[1] == pytest.approx(nats.std(ddof=1) / math.sqrt(300) / 7)
    assert weighted_token_loss(np.array([3.0]), np.array([2.0])) == (1.5, None)


def test_losses_do_not_stand_in_for_the_headline():
    pairs = [("reference", "loss"), ("reference", "tokens"), ("strict-match", "exact_match"), ("none", "exact_match")]
    assert headline_of(pairs) == ("none", "exact_match")
    assert headline_of(pairs[:3]) == ("strict-match", "exact_match")
    assert headline_of([("reference", "exact_match"), *pairs[:2]]) == ("reference", "exact_match")


# whole runs


@pytest.mark.slow
def test_a_run_records_the_loss_that_its_items_give_and_training_lowers_it(tmp_path):
    store = store_in(tmp_path)
    base, tuned = small("base"), small("lora", lr=3e-3)
    records = {run.variant: make(run, store).record for run in (base, tuned)}
    assert verify(store) == []
    for record in records.values():
        items = pl.read_parquet(store.items(record.run_id))
        for split, count in (("test", SMALL["eval.limit"]), ("valid", SMALL["eval.valid_limit"])):
            nats, tokens = token_losses(grouped(items.filter(split=split)))
            assert len(nats) == count
            loss = getattr(record, f"{split}_loss"), getattr(record, f"{split}_loss_stderr")
            assert loss == weighted_token_loss(nats, tokens)
            assert len(headline_scores(grouped(items.filter(split=split))).scores) == count
        assert record.test_accuracy == headline_scores(grouped(items.filter(split="test"))).scores.mean()
        by_question = items.filter(split="test").group_by("doc_id").agg(pl.col("sha1").n_unique())
        assert (by_question["sha1"] == 1).all(), "a question has one name in answers and losses"
    assert records["lora"].test_loss < records["base"].test_loss - 0.01
    assert records["lora"].valid_loss < records["base"].valid_loss - 0.01


@pytest.mark.slow
def test_fewer_answers_than_losses_are_told_apart_in_the_row_the_verification_and_the_table(tmp_path):
    store = store_in(tmp_path)
    few = {"eval.data": "benchmark/tasks/nano_metamath/test.jsonl", "eval.answer_limit": 5}
    runs = [small("base", **few), small("lora", lr=3e-3, **few), small("lora", lr=3e-3, seed=1, **few)]
    for run in runs:
        record = make(run, store).record
        items = grouped(pl.read_parquet(store.items(record.run_id)).filter(split="test"))
        assert record.test_n == len(headline_scores(items).scores) == 5
        nats, tokens = token_losses(items)
        assert len(nats) == SMALL["eval.limit"]
        assert (record.test_loss, record.test_loss_stderr) == weighted_token_loss(nats, tokens)
    assert verify(store) == []
    (section,) = compared_sections(store)
    lora = next(i for i, arm in enumerate(section.section.arms) if arm.variant == "lora")
    difference = section.loss[lora, 1 - lora]
    assert (difference.questions, section.accuracy[lora, 1 - lora].questions) == (16, 5)
    text = " ".join(reading(section))
    assert "test loss is -log p of the reference solutions to 16 questions, in nats a token" in text


def test_fewer_answers_than_losses_are_refused_where_questions_come_in_kinds():
    with pytest.raises(UserError, match=r"^eval\.answer_limit=5: .* come in kinds; write eval\.limit=5$"):
        Evaluation(small("base", **{"eval.answer_limit": 5}).eval, None)


@pytest.mark.long
@pytest.mark.slow
def test_a_stop_while_the_loss_is_measured_loses_nothing(tmp_path, monkeypatch):
    run = small("lora")
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    make(run, whole)

    def stopped(*arguments):
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(execute_module, "measure_heldout_losses", stopped)
        with pytest.raises(Interrupted):
            make(run, broken)
    assert not broken.table.exists()
    monkeypatch.setattr("antipasto_bench.run.adapt._train", lambda *arguments: pytest.fail("it was trained already"))
    assert make(run, broken).status == "ok"
    assert result_of(run, broken) == result_of(run, whole)
