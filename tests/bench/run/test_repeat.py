"""Claims about `reproduce`: a run made again has the bits of its row, gets no row, and survives being stopped."""

import json

import pytest
from command import bench, files_below
from small_runs import StopAfter, make, one_layer, small, store_in

from antipasto_bench.analysis.repeats import Tolerance, compare_repeat
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.signals import Interrupted, StopRequest
from antipasto_bench.run.context import RunContext
from antipasto_bench.run.progress import Progress
from antipasto_bench.run.repeat import make_again, repeatable_config, scratch_of, set_compared
from antipasto_bench.store.table import put, read_records

pytestmark = pytest.mark.slow


def test_a_repeat_that_is_stopped_ends_with_the_bits_of_the_row_and_leaves_the_results_as_they_are(tmp_path):
    store = store_in(tmp_path)
    make(small("lora", model=one_layer(), lr=5e-2), store)
    (row,) = read_records(store.table)
    results, scratch = files_below(store.results), scratch_of(row, store)
    table = store.table.read_bytes()
    config = repeatable_config(row, store)

    def attempt(stop: StopRequest):
        return make_again(row, config, RunContext(scratch, Progress(quiet=True), stop))

    with pytest.raises(Interrupted):
        attempt(StopAfter(5))
    repeated = attempt(StopRequest())
    compared = compare_repeat(row, repeated, store, scratch, Tolerance())
    assert (compared.outcome, compared.same_adapter, compared.same_answers) == ("same bits", True, True)
    assert attempt(StopRequest()).finished_at == repeated.finished_at, "it was not compared: nothing is made twice"
    set_compared(scratch)
    with pytest.raises(Interrupted):
        attempt(StopAfter(2))  # it is made anew
    assert files_below(store.results) == results
    assert store.table.read_bytes() == table


def test_the_command_ends_with_1_where_the_bits_are_others_and_records_what_it_is_told_to(tmp_path):
    store = store_in(tmp_path)
    make(small("lora", model=one_layer()), store)
    (row,) = read_records(store.table)
    row.adapter_sha256 = "0" * 64
    put(store.table, row)
    done = bench("reproduce", row.run_id, "--record", "--json", cwd=tmp_path, expect=1)
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["same_adapter"], line["same_items"], line["demanded"]) == (False, True, "same bits")
    assert "adapter different, scores and losses of every question the same, answers the same" in done.stderr
    assert len(store.repeats.read_text().splitlines()) == len(store.table.read_text().splitlines()) == 1


def test_what_cannot_be_made_again_is_refused_before_it_is_begun(tmp_path):
    store = store_in(tmp_path)
    make(small("lora", model=one_layer()), store)
    (row,) = read_records(store.table)
    older = row.config.model_copy(update={"eval": row.config.eval.model_copy(update={"version": 1})})
    with pytest.raises(UserError, match="scored by rules 1, by which no run is made any more"):
        repeatable_config(row.model_copy(update={"config": older}), store)
    other = row.config.model_copy(update={"data": row.config.data.model_copy(update={"train": "gone.jsonl"})})
    with pytest.raises(UserError, match=r"name them: data\.train=PATH"):
        repeatable_config(row.model_copy(update={"config": other}), store)
    with pytest.raises(UserError, match="no result to repeat"):
        repeatable_config(row.model_copy(update={"status": "failed", "error": "nan"}), store)
