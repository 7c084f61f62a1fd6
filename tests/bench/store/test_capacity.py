"""Claims about the hint of capacity: it is the rule of its source, and absent where a row lacks the count."""

import pytest
import torch
from recorded import record
from transformers import AutoModelForCausalLM

import antipasto
from antipasto_bench.analysis.compared_sections import compared_sections
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.report.columns import all_columns
from antipasto_bench.report.markdown import markdown
from antipasto_bench.report.short_tables import IN_README
from antipasto_bench.store.capacity import IN_PROPORTION, parameters_filled, rank_filled
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


def test_as_many_parameters_as_half_the_tokens_could_store_them():
    assert parameters_filled(1000) == 500
    assert rank_filled("lora", 16, 16_000, 4_000) == 2
    assert rank_filled("lora", 16, 16_000, 4_001) == 3, "rounded up"
    assert rank_filled("lora", 16, 16_000, 10) == 1
    assert rank_filled("lora_xs", 16, 16_000, 4_000) is rank_filled("lora", None, 16_000, 4_000) is None


@pytest.mark.parametrize("variant", IN_PROPORTION)
def test_parameters_of_these_variants_are_in_proportion_to_the_rank(variant):
    counts = []
    for rank in (4, 8):
        model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
        cfg = antipasto.CONFIGS[variant](r=rank, target_names=("q_proj", "down_proj"))
        antipasto.attach(model, cfg, [{"input_ids": torch.arange(48).view(4, 12)}])
        counts.append(sum(p.numel() for p in antipasto.trainable_parameters(model).values()))
    assert counts[1] == 2 * counts[0] > 0


def test_the_column_is_in_the_whole_tables_alone_and_absent_where_no_row_has_the_count(tmp_path):
    (column,) = [column for column in all_columns() if column.name == "params/token"]
    assert column.name not in IN_README
    for known in (False, True):
        store = Store(tmp_path / str(known) / "results", tmp_path / "outputs")
        for variant, parameters in (("lora", 16_000), ("antipasto", 500), ("base", 0)):
            fields = {"trained_parameters": parameters} | ({"completion_tokens": 4_000} if known else {})
            append(store.table, record(store, variant, [0, 1], fields=fields))
        sections = compared_sections(store)
        cells = {row.arm.variant: column.cell(row).text for row in sections[0].arms}
        assert ("params/token" in markdown(sections, [])) == known
        expected = {"lora": "4 (rank 2)", "antipasto": "0.125", "base": ""}
        assert cells == (expected if known else dict.fromkeys(expected, ""))
