"""Claims about docs/published-noise.md: it is its generator's, and says of a table only what the table bears."""

import re
from pathlib import Path

import polars as pl
import pytest

from antipasto_bench.analysis.published import JudgedTable, PublishedRow, Repeats
from antipasto_bench.report.published_noise import (
    LORA_LITE,
    PEFT,
    PEFT_REPEATS,
    QUESTIONS,
    SECOND_SEEDS,
    lora_lite_table,
    peft_table,
    read_rows,
    render_page,
)
from antipasto_bench.report.published_words import (
    against_reference,
    closeness,
    first_place,
    heavy_tail,
    sensitivity,
    span,
    surviving,
)

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "benchmark/reference"
PAGE = (ROOT / "docs/published-noise.md").read_text()


def judged(*accuracies: float, reference: int = 0, seed_sd: float = 0.0073) -> JudgedTable:
    rows = [PublishedRow(f"row {i}", accuracy, QUESTIONS) for i, accuracy in enumerate(accuracies)]
    return JudgedTable.of(rows, f"row {reference}", seed_sd)


EQUAL = judged(*[0.5] * 10)
FAR = judged(*[0.05 + 0.1 * i for i in range(10)], reference=5)
MIXED = judged(0.53, 0.51, 0.50, 0.49, 0.3, 0.1, reference=2)
SHARP = judged(0.53, 0.51, 0.50, 0.49, 0.3, 0.1, reference=2, seed_sd=0.002)


def test_the_page_is_what_its_generator_makes():
    assert render_page(REFERENCE) == PAGE


def test_the_page_is_short_and_begins_with_three_sentences_of_conclusion():
    assert len(PAGE.splitlines()) < 120
    table = peft_table(REFERENCE)
    first = PAGE.partition("\n## ")[0].split("\n\n")[-1].splitlines()
    assert first == [f"- {told(table)}" for told in (first_place, against_reference, closeness)]


def test_the_page_shows_the_first_twelve_rows_and_the_reference():
    shown = [row.name for row in peft_table(REFERENCE).rows[:12]]
    section = PAGE.partition("## PEFT")[2].partition("\n## ")[0]
    assert re.findall(r"^\| \d+ \| ([^|]+) \|", section, flags=re.MULTILINE) == [*shown, "lora rank32"]


def test_the_numbers_of_the_tables_are_those_of_the_files():
    """Every published accuracy is a whole number of right answers, but for the rounding of lora-lite's."""
    for row in read_rows(REFERENCE / PEFT, "experiment", "test_acc"):
        assert row.accuracy * QUESTIONS == pytest.approx(round(row.accuracy * QUESTIONS), abs=1e-6)
    accuracies = pl.read_csv(REFERENCE / PEFT)["test_acc"].sort(descending=True)
    assert len(peft_table(REFERENCE).rows) == len(accuracies) == 63
    assert f"The first 8 rows span {100 * (accuracies[0] - accuracies[7]):.1f} points" in PAGE
    rounded = pl.read_csv(REFERENCE / LORA_LITE)["test_pct"].sort(descending=True) / 100
    assert [row.accuracy for row in lora_lite_table(REFERENCE).rows] == pytest.approx(rounded.to_list())


def test_what_is_quoted_stands_in_the_list_of_sources():
    listed = " ".join((REFERENCE / "README.md").read_text().split())
    r = PEFT_REPEATS
    assert f"{r.pairs} pairs of runs of one config and one seed" in listed
    assert f"median of {r.median} points (standard deviation {r.sd}, at most {r.largest})" in listed
    assert "V {} / {}, U {} / {} and both {} / {}".format(*sum(SECOND_SEEDS, ())) in listed
    assert f"n = {QUESTIONS}" in listed


def test_first_place_is_open_only_where_it_is():
    assert first_place(FAR).startswith("row 9 (95.0 %) is the best of 10 rows")
    assert "any of the 10 rows may be the best" in first_place(EQUAL)
    told = "First place is open: row 0 (53.0 %) leads, but 4 of 6 rows, down to 49.0 %, may be the best as published, "
    assert first_place(MIXED).startswith(f"{told}and 2 still may")
    assert first_place(SHARP).startswith(f"{told}and it alone may")


def test_rows_are_better_than_the_reference_only_where_they_are():
    assert against_reference(FAR).endswith("4 rows are better and 5 worse as published: all 9 are decided.")
    assert "no row is better or worse as published, and 9 of 9 are undecided" in against_reference(EQUAL)
    assert against_reference(EQUAL).endswith("would decide no more.")
    assert "no row is better and 2 worse as published, and 3 of 5 are undecided" in against_reference(MIXED)
    assert against_reference(MIXED).endswith("would make that 1 and 2 at best.")
    assert against_reference(SHARP).endswith("would make that 2 and 3 at best.")
    assert "1 row is better and none worse" in against_reference(judged(0.9, 0.5, 0.51, reference=1))


def test_neighbours_are_close_only_where_they_are():
    assert closeness(FAR) == ""
    assert closeness(EQUAL).startswith(
        "Neighbours among the first 10 rows are 0.0 points apart (median), and one run each"
    )
    assert closeness(judged(0.53, 0.51, 0.49, seed_sd=0.002)) == "", "2 points, where 0.6 is enough"
    assert "takes 9 seeds of each row, 2 points 3" in closeness(EQUAL)


def test_a_span_is_small_only_where_it_is():
    assert "span 0.0 points: less than two single runs separate at best" in span(EQUAL)
    assert "more than two single runs separate at best, and less than they do" in span(judged(0.53, 0.5))
    assert "span 70.0 points: more than two single runs need as published" in span(FAR)


def test_a_tail_is_heavy_only_where_the_median_does_not_explain_the_largest():
    assert "about 2.9 points and not 5.4" in heavy_tail(PEFT_REPEATS)
    assert heavy_tail(Repeats(pairs=122, median=0.7, sd=1.04, largest=2.8)) == ""


def test_pairs_stand_only_where_they_do():
    assert surviving(EQUAL) == "None of 45 pairs is separated, not even over questions alone; nor would be any at best."
    assert surviving(FAR).startswith("Of 45 pairs, 45 are separated over questions alone; with the noise of runs all")
    noisy = judged(0.56, 0.5, 0.3, seed_sd=0.03)
    assert "3 are separated over questions alone; with the noise of runs 2 of them stand" in surviving(noisy)


def test_another_standard_deviation_changes_verdicts_only_where_it_does():
    assert sensitivity(FAR, 0.009).endswith("as many rows would be better and worse at best.")
    told = sensitivity(MIXED, 0.02)
    assert told.startswith(
        "With 2.00 points in place of 0.73, 0 and 2 rows would be better and worse at best, in place"
    )
