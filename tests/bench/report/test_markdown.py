"""Claims about the table that people read."""

import random
import shutil

import pytest
from recorded import PROVENANCE, failed, record

from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.analysis.seed_noise import seed_noise
from antipasto_bench.analysis.stats import summarise
from antipasto_bench.core.errors import Damaged, UserError
from antipasto_bench.report.columns import columns
from antipasto_bench.report.html import page
from antipasto_bench.report.markdown import BEGIN, END, markdown, write_into
from antipasto_bench.report.short_tables import best_settings, heading, short_markdown
from antipasto_bench.store.folders import Store
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import append


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def render(store: Store, references=()) -> str:
    return markdown(compared_sections(store), failures(store), references)


def cells(text: str) -> dict[str, list[str]]:
    """Rows of the tables of scores by their first cell."""
    scores = "".join(part.partition("What each row costs")[0] for part in text.split("### "))
    rows = [line.strip("| ").split("|") for line in scores.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def right(count: int) -> list[float]:
    return [1.0] * count + [0.0] * (8 - count)


def test_an_arm_of_which_every_run_diverged_is_the_last_row_and_no_cost(store):
    for seed in range(2):
        append(store.table, record(store, "lora", right(4), seed=seed, lr=1e-2))
        append(store.table, failed(store, "dora", "why", seed=seed, lr=1.0).model_copy(update={"failed_by": "run"}))
    append(store.table, failed(store, "lora", "why", lr=5.0).model_copy(update={"failed_by": "run"}))
    text = render(store)
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| dora")]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["dora", "16", "1", "0.0", "every run diverged", "2 (2 diverged)"]
    ]
    assert list(cells(text))[-1] == "dora"
    shown = page(compared_sections(store), failures(store), store)
    assert shown.count(">every run diverged<") == 1


def test_verdicts_and_ranks_say_what_the_data_separate_and_nothing_else(store):
    rng = random.Random(0)
    easy = sorted(range(300), key=lambda _: rng.random())
    for variant, share in (("lora", 0.8), ("dora", 0.79), ("antipasto", 0.3), ("base", 0.02)):
        for seed in range(3 if variant != "base" else 1):
            count = int(300 * share) + (seed - 1) * 2
            append(store.table, record(store, variant, easy[:count], n=300, seed=seed))
    text = render(store)
    table = cells(text)
    columns = table.pop("variant")
    shown = {name.split()[0]: dict(zip(columns, row, strict=False)) for name, row in table.items()}
    verdicts = {name: row["verdict"] for name, row in shown.items()}
    assert verdicts == {"lora": "reference", "dora": "undecided", "antipasto": "worse", "base": "worse"}
    ranks = {name: row["rank among"] for name, row in shown.items()}
    assert ranks == {"lora": "1-2", "dora": "1-2", "antipasto": "3", "base": "4"}
    assert shown["lora"]["vs reference"] == ""
    assert shown["dora"]["vs reference"].startswith("-1.0 (-")
    assert "corrected for 3 comparisons" in text
    assert "from all 6 pairs" in text
    assert "(p " not in text


def test_seeds_of_an_arm_share_a_row_and_arms_do_not(store):
    rows = [
        record(store, "lora", [0, 1, 2, 3, 4, 5], seed=0),
        record(store, "lora", [0, 1, 2, 3], seed=1),
        record(store, "lora", [0], rank=8),
        record(store, "antipasto", [0, 1, 2]),
        record(store, "antipasto", [0, 1], rotate_basis="none"),
        record(store, "base", [0]),
    ]
    for row in rows:
        append(store.table, row)
    text = render(store)
    table = cells(text)
    parts = text.split("What each row costs")
    order, again = ([x.split("|")[1].strip() for x in part.splitlines() if x.startswith("| ")] for part in parts)
    assert order == again
    assert order == ["variant", "lora", "antipasto rotate_basis=V", "antipasto rotate_basis=none", "base", "lora"]
    pooled = next(line for line in text.splitlines() if line.startswith("| lora ") and "62.5" in line)
    assert "62.5 ± " in pooled
    assert pooled.rstrip("| ").endswith("2")
    noise = seed_noise([[right(6), right(4)]])  # all that is known of seeds here
    expected = summarise([right(3)], noise)
    assert table["antipasto rotate_basis=V"][2] == f"37.5 ± {100 * expected.stderr:.1f}"
    shown = dict(zip(table["variant"], table["antipasto rotate_basis=V"], strict=True))
    assert (shown["95 %"], shown["verdict"]) == ("", "one seed"), "one seed has no interval of its method"
    assert table["base"][0] == ""
    assert "n = 8" in text
    assert "cpu-of-a-test, cpu, 2 threads; code 0123456789" in text


def test_runs_of_two_protocols_or_models_share_no_table(store):
    for given in ({}, {"steps": 7}, {"eval.limit": 3}, {"model": "org/other"}):
        append(store.table, record(store, "lora", [0], **given))
    append(store.table, record(store, "base", [0]))
    text = render(store)
    assert text.count("### ") == 4
    assert text.count("| base ") == 2 * 2, "the base is scored like the first two protocols and shown with both"


def test_readme_has_one_table_a_model_the_toy_last_and_one_drawing(store):
    for given in ({}, {"steps": 7}, {"model": "org/other"}):
        append(store.table, record(store, "lora", [0], **given))
    append(store.table, record(store, "dora", [0, 1]))
    text = short_markdown(compared_sections(store), "docs/results.md", "figures")
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert [title.split(":")[0] for title in titles] == ["### org/other", "### nano"]
    assert "### nano: 300 steps" in titles[1], "of its protocols the one with most variants"
    assert text.count("<picture>") == 1
    assert text.index("<picture>") < text.index("### nano")
    assert "[1 more protocol, every column, sweep and cost](docs/results.md)" in text


def test_seconds_of_unlike_machines_are_not_put_side_by_side(store):
    origin = PROVENANCE.model_copy(update={"hardware": "another"})
    append(store.table, record(store, "lora", [0], fields={"train_s": 9.0}))
    append(store.table, record(store, "dora", [0], fields={"train_s": 8.0}))
    assert "| train s |" in short_markdown(compared_sections(store), "docs/results.md")
    append(store.table, record(store, "hra", [0], fields={"train_s": 1.0, "provenance": origin}))
    text = short_markdown(compared_sections(store), "docs/results.md")
    assert "train s" not in text
    assert "hardware cpu-of-a-test (2 runs) and another (1 run: hra r=16)" in text


def test_of_a_models_protocols_readme_shows_the_one_of_most_variants_then_of_most_questions(store):
    """Many settings of one variant are a sweep, and not the comparison that a reader looks for."""
    for rate in (1e-2, 1e-3, 1e-4):
        append(store.table, record(store, "lora", [0], lr=rate, r=8, steps=7))
        append(store.table, record(store, "lora", [0], lr=rate, steps=7))
    for variant in ("lora", "dora"):
        append(store.table, record(store, variant, [0], n=8))
        append(store.table, record(store, variant, [0], n=6, steps=9))
    text = short_markdown(compared_sections(store), "docs/results.md")
    (title,) = [line for line in text.splitlines() if line.startswith("### ")]
    assert title == "### nano: 300 steps x 16, float32, scored on nano_metamath, n = 8"
    assert "2 more protocols" in text


def with_first_rules(row: RunRecord) -> RunRecord:
    """A record as the first scoring rules left it."""
    row.config = row.config.model_copy(update={"eval": row.config.eval.model_copy(update={"version": 1})})
    row.protocol, row.scoring, row.arm = row.config.protocol, row.config.scoring, row.config.arm
    row.metrics = {"test": {"nano_metamath": {"flexible-extract": {"exact_match": (0.5, None)}}}}
    return row


def test_each_table_says_by_which_rules_its_answers_were_judged(store):
    append(store.table, record(store, "lora", [0]))
    append(store.table, with_first_rules(record(store, "lora", [0, 1], seed=1)))
    text = render(store)
    older, today = sorted(text.split("### ")[1:], key=lambda part: "scored by rules 3" in part)
    assert older.splitlines()[0].endswith("n = 8, by scoring rules 1")
    assert "scored by rules 1: right is the last number of an answer; adapters merged into the weights" in older
    assert today.splitlines()[0].endswith("n = 8")
    assert "scored by rules 3: right is the first announced answer, or the last number" in today
    for title, rules in (("by scoring rules 1", "scored by rules 1: right is the last number"),
                         ("n = 8</h2>", "scored by rules 3: right is the first announced answer")):  # fmt: skip
        shown = page(compared_sections(store), failures(store), store)
        assert title in shown
        assert rules in shown


def test_lm_evals_own_tasks_are_said_to_be_judged_by_lm_evals_metric(store):
    row = record(store, "lora", [0])
    row.metrics = {"test": {"nano_metamath": {"none": {"acc": (0.5, None)}}}}
    append(store.table, row)
    assert "scored by rules 3: lm-eval's acc, filter none." in render(store)


def test_order_of_rows_and_repetition_change_no_byte(store, tmp_path):
    rows = [record(store, v, [0, 1], seed=s) for v in ("lora", "antipasto") for s in range(3)]
    texts = []
    for shuffle in range(3):
        random.Random(shuffle).shuffle(rows)
        store.table.unlink(missing_ok=True)
        for row in rows:
            append(store.table, row)
        texts.append(render(store))
    assert texts[0] == texts[1] == texts[2]
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nfrom before\n{END}\nafter\n")
    assert write_into(page, texts[0])
    first = page.read_bytes()
    assert not write_into(page, texts[0])
    assert page.read_bytes() == first
    assert first.startswith(b"before\n")
    assert first.endswith(b"after\n")
    assert b"from before" not in first


def test_times_are_ratios_to_the_base_of_the_same_run_and_the_note_says_what_1x_is(store):
    costs = {
        "forward_ms": 30.0, "base_forward_ms": 20.0, "base_backward_ms": 25.0, "peak_bytes": 512_000_000,
        "saved_bytes": 12_300_000, "base_saved_bytes": 10_000_000, "attach_cold_s": 0.5, "attach_warm_s": 0.25,
        "merge_s": 0.001, "generated_tokens_per_s": 900.0, "base_generated_tokens_per_s": 1000.0, "priced_tokens": 64,
    }  # fmt: skip
    append(store.table, record(store, "lora", [0, 1], fields=costs))
    slower = costs | {"forward_ms": 45.0, "base_forward_ms": 30.0}  # another minute of the machine
    append(store.table, record(store, "dora", [0, 1], fields=slower))
    append(store.table, record(store, "base", [0], fields={"base_forward_ms": 21.0, "priced_tokens": 64}))
    text = render(store)
    header, _, *arms, base = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.partition("What each row costs")[2].splitlines() if line.startswith("|")
    )  # fmt: skip
    shown, other = (dict(zip(header, arm, strict=True)) for arm in arms)
    assert "bwd time" not in shown, "no column stands empty"
    assert shown["fwd time"] == other["fwd time"], "what a slow minute does to both sides is no difference of adapters"
    expected = {"fwd time": "1.50x", "kept MB": "12.3 (1.23x)", "peak MB": "512", "init s": "0.50",
                "cached": "0.25", "merge ms": "1.0", "gen speed": "0.90x"}  # fmt: skip
    assert shown.items() >= expected.items()
    assert dict(zip(header, base, strict=True))["fwd time"] == "1.00x"
    assert "1x is 21.0 ms (20.0 to 30.0) forward, 1,000.0 tokens/s generated" in text
    assert "medians over one batch of 64 tokens" in text


def test_losses_stand_beside_their_difference_to_the_reference_and_their_own_verdict(store):
    append(store.table, record(store, "ia3", [0, 1]))
    assert "loss" not in " ".join(cells(render(store))["variant"])
    shutil.rmtree(store.results)
    for seed in range(3):
        for variant, more in (("lora", 0.0), ("dora", 0.0), ("hra", 1.5)):
            nats = [5.0 + i % 3 + more + 0.01 * seed * (variant != "dora") for i in range(8)]
            append(store.table, record(store, variant, [0, 1], nats=nats, seed=seed))
    text = render(store)
    table = cells(text)
    rows = {name: dict(zip(table["variant"], table[name], strict=True)) for name in ("lora", "dora", "hra")}
    assert rows["lora"]["test loss"].startswith("0.4359 ± 0.0")
    assert (rows["lora"]["loss vs reference"], rows["lora"]["verdict by loss"]) == ("", "reference")
    assert rows["dora"]["loss vs reference"].startswith("-0.0007 (-0.00")
    assert rows["dora"]["verdict by loss"] == "no worse", "the margin is 0.01 nats"
    assert rows["hra"]["loss vs reference"].startswith("+0.1111 (+0.09")
    assert rows["hra"]["verdict by loss"] == "worse"
    assert rows["hra"]["valid loss"] == "0.5470"
    assert "test loss is -log p of the reference solutions, in nats a token: lower is better." in text


def test_an_arm_of_which_some_seeds_have_losses_shows_their_mean_and_is_not_compared_by_it(store):
    append(store.table, record(store, "lora", [0, 1], nats=[5.0] * 8, seed=0))
    append(store.table, record(store, "lora", [0, 1], seed=1))
    append(store.table, record(store, "dora", [0, 1], nats=[5.0] * 8))
    table = cells(render(store))
    loss = table["variant"].index("test loss")
    assert (table["lora"][loss], table["dora"][loss][:8]) == ("0.3704", "0.3704 ±")
    assert "loss vs reference" not in table["variant"]


def test_bold_is_what_may_be_first_and_nothing_in_a_table_of_one_seed(store):
    easy = list(range(300))
    for variant, count in (("lora", 240), ("dora", 238), ("antipasto", 60)):
        for seed in range(3):
            append(store.table, record(store, variant, easy[: count + seed], n=300, seed=seed))
    table = cells(render(store))
    assert table["lora"][2].startswith("**")
    assert table["dora"][2].startswith("**")
    assert "**" not in table["antipasto rotate_basis=V"][2]
    shutil.rmtree(store.results)
    for variant, count in (("lora", 240), ("dora", 60)):
        append(store.table, record(store, variant, easy[:count], n=300))
    text = render(store)
    assert "**" not in text
    assert "These runs only: every trained arm has one seed" in text
    assert "over questions alone" in text


def test_of_several_ranks_of_lora_that_of_the_presets_defaults_is_the_reference(store):
    """Whatever validation says of them: a reference that is chosen for its scores flatters itself."""
    easy = list(range(300))
    for rank, count, valid in ((4, 200, 0.6), (16, 240, 0.7), (64, 250, 0.8)):
        for seed in range(2):
            fields = {"valid_accuracy": valid}
            append(store.table, record(store, "lora", easy[: count + seed], n=300, fields=fields, rank=rank, seed=seed))
    text = render(store)
    assert "The reference is lora r=16, the one with its preset's defaults." in text
    lines = [[c.strip() for c in x.split("|")] for x in text.splitlines() if x.startswith("| lora ")]
    against = {line[2]: line[6] for line in lines[:3]}
    assert against["16"] == ""
    assert against["64"].startswith("+3.3 (")


def test_no_text_of_a_setting_an_error_or_a_file_is_markup(store, tmp_path):
    append(store.table, record(store, "lora", [0], targets=["(q|v)_proj", ".*_proj"]))
    append(store.table, record(store, "lora", [0, 1]))
    error = f"<img src=x> {END} | [a](b) `c` a < b"
    append(store.table, failed(store, "dora", error))
    reference = tmp_path / "x.csv"
    reference.write_text("variant,note\nlora,<b>|*\n")
    text = render(store, [reference])
    assert "(q&#124;v)&#95;proj,.&#42;&#95;proj" in text
    for part in text.split("\n\n"):
        assert len({line.count("|") for line in part.splitlines() if line.startswith("|")}) <= 1, "no cell is split"
    assert "<img" not in text
    assert "<b>" not in text
    assert END not in text
    assert "&#96;c&#96; a < b" in text
    page = tmp_path / "README.md"
    assert write_into(page, text)
    assert not write_into(page, text)


def test_rows_that_cannot_be_compared_say_why_and_claim_no_interval(store):
    lora, dora = record(store, "lora", [0, 1], n=8), record(store, "dora", [0, 1], n=9)
    append(store.table, lora)
    append(store.table, dora)
    text = render(store)
    assert f"not compared: their questions differ. {lora.run_id} and {dora.run_id} were scored" in text.replace(
        "&#95;", "_"
    )
    assert "(8 and 9, of which they share 8)" in text
    assert "run the older one again with --force" in text
    assert "95 %" not in text
    assert "forgets" not in text


def test_seeds_of_one_arm_must_have_met_the_same_questions(store):
    append(store.table, record(store, "lora", [0], n=8))
    append(store.table, record(store, "lora", [0], n=8, seed=1, questions=[*"0123456", "new"]))
    with pytest.raises(UserError, match=r"lora cannot be paired: .*_seed0_\w+ and .*_seed1_\w+ .* share 7\).*--force"):
        render(store)


def test_failed_runs_are_named_and_in_no_table(store):
    append(store.table, record(store, "lora", [0]))
    diverged = failed(store, "lora", "the loss is nan", lr=1e9)
    append(store.table, diverged)
    text = render(store)
    assert text.count("| lora ") == 2, "one row of scores, and one of costs"
    assert f"- `{diverged.run_id}`: the loss is nan" in text


def test_published_rows_stand_apart_and_are_called_so(store, tmp_path):
    append(store.table, record(store, "lora", [0]))
    path = tmp_path / "theirs.csv"
    path.write_text("variant,rank,test_pct\ndora,32,60.2\nia3_ff,,56.3\n")
    ours, both = render(store), render(store, [path])
    assert both.startswith(ours.rstrip())
    added = both.removeprefix(ours.rstrip())
    assert "### Published elsewhere, not measured here: theirs.csv" in added
    assert "| ia3_ff  |      |     56.3 |" in added
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read as a reference table"):
        render(store, [path])


def test_what_cannot_be_backed_is_not_shown(store, tmp_path):
    with pytest.raises(UserError, match="holds no finished run yet"):
        render(store)
    run = record(store, "lora", [0])
    append(store.table, run)
    store.items(run.run_id).unlink()
    for harm, said in (
        (lambda: None, "is missing"),
        (lambda: record(store, "lora", [0, 1]), "is not what its row was made"),
    ):
        harm()
        with (
            pytest.warns(Damaged, match=rf"^items/{run.run_id}.parquet: {said}.*; its row is left out"),
            pytest.raises(UserError, match="holds no run whose questions are whole"),
        ):
            render(store)
    append(store.table, record(store, "dora", [0]))
    with pytest.warns(Damaged, match="its row is left out"):
        assert "| dora" in render(store)
    page = tmp_path / "page.md"
    page.write_text("no place")
    with pytest.raises(UserError, match="has no place for the tables"):
        write_into(page, "x")


def test_rows_that_were_scored_in_batches_of_different_sizes_are_named(store):
    def with_batches(size):
        return {"provenance": PROVENANCE.model_copy(update={"eval_batch_size": size})}

    append(store.table, record(store, "lora", [0, 1], fields=with_batches(100)))
    append(store.table, record(store, "dora", [0, 1], fields=with_batches(100)))
    append(store.table, record(store, "pissa", [0, 1]))  # an older row, which does not say
    before = render(store)
    assert "batches of different sizes" not in before
    append(store.table, record(store, "lora", [0, 1], fields=with_batches(50), rank=8))
    note = "batches of different sizes, on which answers can depend: 50 at once: lora r=8; 100 at once: "
    assert note in render(store)
    assert "batches of different sizes" in page(compared_sections(store), failures(store), store, ())


def test_where_nothing_was_validated_a_short_table_chooses_no_setting_by_its_test_score(store):
    """The reference stands for its variant, another by its defaults; and the heading does not say best."""
    for settings, right in (({}, 2), ({"adapter_dtype": "bfloat16"}, 6), ({"rank": 4}, 7)):
        for variant in ("lora", "dora"):
            for seed in (0, 1):
                unknown = {"valid_accuracy": None}
                append(store.table, record(store, variant, list(range(right)), fields=unknown, seed=seed, **settings))
    (section,) = compared_sections(store)
    assert {row.arm.name for row in best_settings(section)} == {"lora r=16", "dora r=16"}
    assert heading(section) == "Each method at one setting"


def test_a_short_table_shows_of_each_variant_the_setting_that_validation_found_best_with_diverged_runs_as_nothing(
    store,
):
    easy = list(range(300))
    for rank, count, seeds, valid in ((16, 270, 1, 0.9), (64, 240, 3, 0.7)):
        for seed in range(seeds):
            fields = {"valid_accuracy": valid}
            append(store.table, record(store, "dora", easy[:count], n=300, fields=fields, rank=rank, seed=seed))
    for seed in (1, 2):
        lost = failed(store, "dora", "the loss is nan", rank=16, seed=seed)
        append(store.table, lost.model_copy(update={"failed_by": "run"}))
    for seed in range(3):
        append(store.table, record(store, "lora", easy[: 200 + seed], n=300, seed=seed))
    (section,) = compared_sections(store)
    assert heading(section) == "Each method at one setting, chosen by validation"
    shown = {row.arm.name for row in best_settings(section)}
    assert shown == {"lora r=16", "dora r=64"}, "the survivor of three runs is no better setting"
    diverged = next(row for row in section.arms if row.arm.diverged)
    cells = {column.name: column.cell(row).text for row in [diverged] for column in columns("scores")}
    assert cells["seeds"] == "3 (2 diverged)"
    assert cells["test %"].startswith("30.0"), "a third of what the survivor has"
    assert cells["valid %"] == "30.0"
    assert cells["test loss"] == ""
