"""Claims about answers whose rows leave and come: they are those of one row at a time, and no pass computes another."""

import itertools
import random

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from antipasto_bench.run import open_rows
from antipasto_bench.run.open_rows import OpenRows, Row
from antipasto_bench.run.row_cache import rows_can_leave

VOCABULARY, MOST, ENDS = 60, 24, (3, 4, 5)
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}


def llama():
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=2, num_key_value_heads=2))


def sliding():
    """Of which some answers grow beyond the window."""
    return MistralForCausalLM(MistralConfig(**SIZES, num_hidden_layers=2, num_key_value_heads=2, sliding_window=9))


def hybrid():
    """Three layers of linear attention, with their two kinds of states, and one of plain attention."""
    config = Qwen3_5TextConfig(
        **SIZES, num_hidden_layers=4, num_key_value_heads=1, head_dim=16, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
    )  # fmt: skip
    return Qwen3_5ForCausalLM(config)


@pytest.fixture(scope="module", params=[llama, sliding, hybrid], ids=lambda make: make.__name__)
def tiny(request):
    torch.manual_seed(1)
    model = request.param().eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)  # else most answers repeat one token
    return model


@pytest.fixture(scope="module")
def prompts():
    draw = random.Random(0)
    return [[draw.randrange(6, VOCABULARY) for _ in range(draw.choice((1, 2, 5, 9, 14, 21)))] for _ in range(14)]


@pytest.fixture(scope="module")
def alone(tiny, prompts):
    """Each answer by transformers' own generate, one row at a time."""
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        whole = tiny.generate(ids, max_new_tokens=MOST, do_sample=False, eos_token_id=list(ENDS), pad_token_id=0)
        answers.append(whole[0, len(prompt) :].tolist())
    assert len({len(answer) for answer in answers}) > 4, "they end in different places"
    return answers


def answered(model, prompts, width, given=None, batch=None):
    batch = batch or OpenRows(model, width, lambda tokens: tokens[-1] in ENDS, 0)
    rows = [Row(i, prompt, MOST, list((given or {}).get(i, []))) for i, prompt in enumerate(prompts)]
    answers = {row.place: row.tokens for row in batch.answers(rows)}
    return [answers[i] for i in range(len(prompts))]


@pytest.mark.parametrize("width", [1, 3, 8, 14])
@pytest.mark.parametrize("at_once", [1, 4])
def test_answers_are_those_of_one_row_at_a_time_whatever_shares_a_batch(
    tiny, prompts, alone, width, at_once, monkeypatch
):
    """And however many tokens are computed before the host reads them, as on a GPU."""
    monkeypatch.setattr(open_rows, "TOKENS_A_READ", {"cpu": at_once})
    assert answered(tiny, prompts, width) == alone
    order = random.Random(width).sample(range(len(prompts)), len(prompts))
    assert answered(tiny, [prompts[i] for i in order], width) == [alone[i] for i in order]


def test_no_pass_computes_a_row_that_has_ended_nor_a_column_that_pads_every_row(tiny, prompts, alone):
    rows, columns = [], []
    batch = OpenRows(tiny, 5, lambda tokens: tokens[-1] in ENDS, 0)

    def seen(module, arguments, given):
        if given["input_ids"].shape[1] == 1 and given["past_key_values"] is batch._cache.cache:
            rows.append(len(given["input_ids"]))
            columns.append(batch._cache.columns - max(len(row.prompt) + len(row.tokens) - 1 for row in batch.open))

    handle = tiny.register_forward_pre_hook(seen, with_kwargs=True)
    try:
        answered(tiny, prompts, 5, batch=batch)
    finally:
        handle.remove()
    assert sum(rows) == sum(map(len, alone)) - len(prompts), "the first token of each comes from its prompt's pass"
    assert set(columns) == {0}
    assert max(rows) == 5
    full = rows[: len(rows) // 2]
    assert sum(full) / len(full) > 3.5, "others take the places of those that have ended"


def test_the_head_reads_the_last_states_alone_and_not_as_a_view(tiny, prompts):
    """Of a view of all states, torch copies the head's matrix for every row: five times the memory of SmolLM2."""
    seen = []
    handle = tiny.lm_head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        answered(tiny, prompts, 5)
    finally:
        handle.remove()
    assert {states.shape[1] for states in seen} == {1}
    assert all(states.is_contiguous() for states in seen)
    assert max(states.untyped_storage().nbytes() for states in seen) == 5 * SIZES["hidden_size"] * 4


def test_rows_go_on_behind_the_tokens_they_have(tiny, prompts, alone):
    draw = random.Random(3)
    given = {i: alone[i][: draw.randrange(len(alone[i]) + 1)] for i in range(0, len(prompts), 2)}
    assert any(tokens == alone[i] for i, tokens in given.items()) or given.update({0: alone[0]}) is None
    assert answered(tiny, prompts, 4, given) == alone


def test_a_long_answer_outgrows_its_buffer_and_stays_what_it_is(monkeypatch, tiny, prompts, alone):
    monkeypatch.setattr("antipasto_bench.run.row_cache.ROOM", 2)
    assert answered(tiny, prompts, 6) == alone


def test_a_model_without_positions_or_with_a_state_of_its_own_is_left_to_whole_batches():
    assert rows_can_leave(llama())
    assert rows_can_leave(GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=2)))
    mamba = MambaForCausalLM(MambaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, state_size=4))
    assert not rows_can_leave(mamba)


def test_the_positions_of_a_row_stay_below_the_models_most():
    """Learned positions have no more rows: tokens computed in vain are not computed behind them."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=2, n_positions=10)).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_rows, "TOKENS_A_READ", {"cpu": 8})
        batch = OpenRows(model, 2, lambda tokens: False, 0)
        rows = batch.answers([Row(0, [1, 2], 8), Row(1, [3], 3), Row(2, [4, 5, 6], 7)])
        assert sorted(len(row.tokens) for row in rows) == [3, 7, 8]


def test_which_rows_share_a_pass_follows_from_the_answers_alone(tiny, prompts):
    """Not from the time that anything takes, nor from an earlier use."""
    seen = []
    for _ in range(2):
        batch = OpenRows(tiny, 4, lambda tokens: tokens[-1] in ENDS, 0)
        passes = []
        handle = tiny.register_forward_pre_hook(
            lambda module, args, given, passes=passes: passes.append(given["input_ids"].tolist()), with_kwargs=True
        )
        answered(tiny, prompts, 4, batch=batch)
        handle.remove()
        seen.append(passes)
    assert seen[0] == seen[1]
    assert all(len(a) <= 4 for a in itertools.chain(seen[0]))
