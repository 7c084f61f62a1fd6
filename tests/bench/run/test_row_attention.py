"""Claims about attention without padding: it is what attention with its padding gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from antipasto_bench.run import row_attention
from antipasto_bench.run.open_rows import PADDING, OpenRows, Row
from antipasto_bench.run.row_attention import of_like_length, padding_left_out


@given(st.lists(st.integers(1, 300), max_size=40), st.sampled_from([0.0, 1 / 8, 1.0, float("inf")]))
def test_groups_hold_all_rows_in_their_order_with_no_more_padding_than_is_allowed(lengths, padding):
    groups = of_like_length(lengths, padding)
    assert [length for group in groups for length in lengths[group]] == lengths
    for group in groups:
        of_group = lengths[group]
        assert max(of_group) * len(of_group) <= (1 + padding) * sum(of_group)


def test_without_a_bound_all_rows_are_one_group_and_with_one_those_of_like_length():
    lengths = [40, 39, 38, 12, 12, 11]
    assert [lengths[group] for group in of_like_length(lengths, PADDING["cpu"])] == [[40, 39, 38], [12, 12, 11]]
    assert [lengths[group] for group in of_like_length(lengths, float("inf"))] == [lengths]


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_row_is_given_what_it_is_given_with_its_padding(kv_heads, dtype, monkeypatch):
    monkeypatch.setattr(row_attention, "A_CALL", 0)
    generator = torch.Generator().manual_seed(0)
    lengths, columns = [40, 38, 12, 11, 3, 40], 40
    query = torch.randn(6, 4, 1, 16, generator=generator).to(dtype)
    key, value = torch.randn(2, 6, kv_heads, columns, 16, generator=generator).to(dtype)
    mask = (torch.arange(columns) >= columns - torch.tensor(lengths)[:, None])[:, None, None]
    module = torch.nn.Module()
    module.num_key_value_groups = 4 // kv_heads
    whole = ALL_ATTENTION_FUNCTIONS["sdpa"]
    expected, _ = whole(module, query, key, value, mask)
    with padding_left_out(lengths, columns, 1 / 8):
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not whole
        given, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask)
        # Other columns than those of the cache, several tokens or no mask: as ever.
        for other in ((query, key[:, :, 1:], value[:, :, 1:], mask[..., 1:]), (key, key, value, None)):
            assert torch.equal(ALL_ATTENTION_FUNCTIONS["sdpa"](module, *other)[0], whole(module, *other)[0])
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is whole
    torch.testing.assert_close(given, expected)


@pytest.mark.parametrize(("rows", "size", "calls"), [(4, 8, 1), (100, 64, 2)])
def test_groups_are_made_where_they_save_more_than_their_calls_cost(rows, size, calls, monkeypatch):
    counted, whole = [], ALL_ATTENTION_FUNCTIONS["sdpa"]
    monkeypatch.setitem(
        ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", lambda *given: counted.append(1) or whole(*given)
    )
    lengths, columns = [60] * (rows // 2) + [20] * (rows // 2), 60
    query, key = torch.ones(rows, 4, 1, size), torch.ones(rows, 4, columns, size)
    mask = (torch.arange(columns) >= columns - torch.tensor(lengths)[:, None])[:, None, None]
    module = torch.nn.Module()
    module.num_key_value_groups = 1
    with padding_left_out(lengths, columns, 1 / 8):
        ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, key, mask)
    assert len(counted) == calls


def test_padding_is_not_attended_to_where_rows_differ_in_length(monkeypatch):
    """By the columns that the kernel is given, over a whole answer: rows leave, and others come."""
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    monkeypatch.setattr(row_attention, "A_CALL", 0)
    attend, seen = torch.nn.functional.scaled_dot_product_attention, []

    def counted(query, key, *rest, **more):
        seen.append(len(key) * key.shape[2] if query.shape[2] == 1 else 0)
        return attend(query, key, *rest, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    rows = [Row(i, [1 + i % 40] * length, 20) for i, length in enumerate([90, 80, 30, 30, 30, 10, 10, 10, 10, 60])]
    ended = {row.place: row.tokens for row in OpenRows(model, 6, lambda tokens: False, 0).answers(rows)}
    assert sorted(ended) == list(range(10))
    needed = sum(len(row.prompt) + made for row in rows for made in range(1, 20))
    assert needed <= sum(seen) <= (1 + 1 / 8) * needed
