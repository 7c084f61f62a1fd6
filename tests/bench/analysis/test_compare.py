"""Claims about `compare`: it names what it compares, counts questions as they are, and shows what flipped."""

import json
from dataclasses import replace

import pytest
from command import bench
from recorded import failed, record

from antipasto_bench.analysis.compare import answers, compare_two
from antipasto_bench.analysis.named_arms import arm_named
from antipasto_bench.analysis.sections import at_chosen_rates, finished, sections
from antipasto_bench.cli.comparison_output import comparison_json, comparison_text
from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.config import SCORING_VERSION
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append


def named(text, store):
    records = finished(store)
    return arm_named(text, records, lambda: at_chosen_rates(records, store), store)


def select(text, store):
    return named(text, store).arm


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    for seed in range(3):
        append(store.table, record(store, "lora", [0, 1, 2, 3, 4], seed=seed))
        append(store.table, record(store, "antipasto", [0, 5], seed=seed))
        append(store.table, record(store, "antipasto", [0], seed=seed, rotate_basis="U"))
    append(store.table, record(store, "lora", [7], fields={"valid_accuracy": 0.1}, seed=0, lr=1e-3))
    return store


def test_questions_that_flip_are_counted_each_way(store):
    forth = compare_two("lora", "antipasto rotate_basis=V", store)
    assert forth.only_a == ["1", "2", "3", "4"]
    assert forth.only_b == ["5"]
    assert forth.comparison.difference == pytest.approx(3 / 8)
    assert forth.comparison.low < 3 / 8 < forth.comparison.high
    back = compare_two("antipasto rotate_basis=V", "lora", store)
    assert (back.only_a, back.only_b) == (forth.only_b, forth.only_a)
    assert back.comparison.difference == -forth.comparison.difference
    assert back.comparison.p == forth.comparison.p


def test_an_arm_is_named_by_its_settings_and_a_run_by_its_id(store):
    assert [r.seed for r in select("lora", store).records] == [1, 2], "at the rate that the report shows, chosen on 0"
    assert select("lora lr=1e-2", store).records == select("lora", store).records, (
        "a row of the table, however it is named"
    )
    assert [r.seed for r in select("lora seed=0", store).records] == [0]
    assert len(select("lora lr=1e-3", store).records) == 1
    assert len(select("antipasto rotate_basis=U rank=64", store).records) == 3
    (one,) = select("antipasto rotate_basis=U seed=1", store).records
    assert one.seed == 1
    assert select(one.run_id, store).records == [one]


def test_an_arm_has_the_runs_that_diverged_as_it_has_in_the_table(store):
    for given in ({"lr": 1e-2}, {"lr": 1e-3}):
        lost = failed(store, "lora", "the loss is nan", seed=3, **given)
        append(store.table, lost.model_copy(update={"failed_by": "run"}))
    (section,) = sections(store)
    shown = next(arm for arm in section.arms if arm.variant == "lora")
    for text, seeds in (("lora", 3), ("lora lr=1e-2", 3), ("lora lr=1e-3", 2), ("lora seed=1", 1)):
        arm = select(text, store)
        assert (arm.seeds, arm.diverged) == (seeds, int(seeds > 1)), text
    assert (select("lora", store).scores == shown.scores).all()
    assert (select("lora", store).chosen_on, select("lora lr=1e-3", store).chosen_on) == (0, None)


def test_an_error_about_several_arms_names_the_settings_that_tell_them_apart(store):
    append(store.table, record(store, "hra", [0], **{"eval.limit": 8}))
    append(store.table, record(store, "hra", [0], **{"eval.limit": 4}))
    with pytest.raises(
        UserError, match=r"names 2 arms \(hra r=16, hra r=16\); add a setting: eval\.limit=(8\|4|4\|8)$"
    ):
        select("hra", store)
    for variant in ("U", "both"):
        append(store.table, record(store, "antipasto", [0], rotate_basis=variant, rank=32))
    with pytest.raises(UserError, match=r"add a setting: rotate_basis=(U\|both|both\|U)$"):
        select("antipasto rank=32", store)


def test_of_several_arms_that_of_the_presets_defaults_is_taken_and_said(store):
    """Settings that no run id depends on, and the rate that validation chose, are no reason to ask for more words."""
    append(store.table, record(store, "lora", [0], rank=4, **{"eval.general_limit": 8}))
    append(store.table, record(store, "antipasto", [0], rank=32, lr=7e-3))
    lora, antipasto = named("lora", store), named("antipasto", store)
    assert (lora.arm.name, len(lora.arm.records)) == ("lora r=16", 2)
    assert lora.chosen == (
        "'lora' fits 2 arms; taken: lora r=16, with the defaults of preset nano. For another add rank=4"
    )
    assert antipasto.arm.name == "antipasto rotate_basis=V r=64"
    assert antipasto.chosen.endswith("For another add rank=32, rotate_basis=U")
    assert named("lora rank=4", store).chosen is None
    compared = compare_two("lora", "antipasto rotate_basis=U", store)
    assert compared.chosen == (lora.chosen,)
    text = comparison_text(compared, {"only_a": [], "only_b": []})
    assert lora.chosen in text.splitlines()
    assert text.startswith("A      lora r=16 lr=0.01: ")


def test_of_the_arms_of_two_presets_that_of_the_default_preset_is_taken(store):
    other = record(store, "lora", [0], seed=0, steps=7)
    other.config = other.config.model_copy(update={"preset": "smollm2-135m", "steps": 1000})
    append(store.table, other)
    assert named("lora", store).arm.first.config.preset == "nano"


def test_a_preset_that_is_gone_has_no_defaults(store):
    for rank in (4, 8):
        gone = record(store, "hra", [0], rank=rank)
        gone.config = gone.config.model_copy(update={"preset": "mine"})
        append(store.table, gone)
    with pytest.raises(UserError, match=r"names 2 arms .*add a setting: rank="):
        select("hra", store)


def test_a_run_is_named_by_the_beginning_of_its_id_or_its_last_digits(store):
    lora = select("lora lr=1e-3", store).first
    assert select(lora.run_id[-8:], store).records == [lora]
    assert select("nano__lora__r16__lr0.001", store).records == [lora]
    with pytest.raises(UserError, match=r"'nano__lora' names 4 runs: nano__lora"):
        select("nano__lora", store)


def test_rows_of_different_scoring_rules_are_not_compared(store):
    older = record(store, "lora", [0, 1], seed=7, steps=7)
    older.config = older.config.model_copy(update={"eval": older.config.eval.model_copy(update={"version": 1})})
    append(store.table, older)
    with pytest.raises(UserError, match=rf"scored by different rules \(1 and {SCORING_VERSION}\); make the older one"):
        compare_two(older.run_id, "lora steps=300", store)


def test_any_setting_of_a_run_can_name_an_arm(store):
    append(store.table, record(store, "lora", [0], dtype="bfloat16"))
    append(store.table, record(store, "lora", [1], **{"data.max_length": 64}))
    assert select("lora dtype=bfloat16 lr=1e-2", store).first.config.dtype == "bfloat16"
    assert select("lora data.max_length=64", store).first.config.data.max_length == 64
    with pytest.raises(UserError, match="no finished run"):
        select("lora dtype=float16", store)


def test_the_list_of_an_adapters_targets_is_named_in_any_order_and_one_of_a_single_word_by_that_word(store):
    append(store.table, record(store, "lora", [0], targets=["v_proj", "q_proj"]))
    append(store.table, record(store, "lora", [1], targets="all-linear"))
    for text in ("[q_proj,v_proj]", "[v_proj,q_proj]"):
        assert select(f"lora targets={text}", store).first.config.adapter["target_names"] == ["q_proj", "v_proj"]
    for text in ("all-linear", "[all-linear]"):
        assert select(f"lora targets={text}", store).first.config.adapter["target_names"] == ["all-linear"]
    assert select("lora targets=all-linear eval.tasks=nano_metamath", store).first.config.eval.tasks
    with pytest.raises(UserError, match="no finished run"):
        select("lora targets=q_proj", store)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loar", "no run 'loar' in "),
        ("../../lora", "no run '../../lora' in "),
        ("hra", "no finished run is 'hra'"),
        ("lora lr=5", "no finished run"),
        ("lora antipasto", "write a run id, or one variant"),
        ("lora lr=1,2", "write a run id, or one variant"),
    ],
)
def test_what_names_nothing_or_too_much_is_one_clear_error(store, text, said):
    with pytest.raises(UserError, match=said):
        select(text, store)


def test_runs_on_different_questions_are_not_compared(store):
    append(store.table, record(store, "lora", [0], n=9, steps=7))
    with pytest.raises(UserError, match="different questions"):
        compare_two("lora lr=1e-2 steps=300", "lora steps=7", store)


def test_losses_are_compared_over_the_same_questions_and_seeds(tmp_path):
    store = Store(tmp_path / "results", tmp_path / "outputs")
    easier = [5.0 + i % 3 for i in range(8)]
    for seed in range(3):
        append(store.table, record(store, "lora", [0, 1], nats=easier, seed=seed))
        append(store.table, record(store, "dora", [0, 1], nats=[x + 0.5 + 0.1 * seed for x in easier], seed=seed))
    found = compare_two("lora", "dora", store)
    assert found.loss is not None
    tokens = sum(range(10, 18))
    assert (found.loss.a, found.loss.b) == pytest.approx((sum(easier) / tokens, (sum(easier) + 8 * 0.6) / tokens))
    assert found.loss.comparison.difference == pytest.approx(-8 * 0.6 / tokens)
    assert found.loss.comparison.high < 0, "every seed and question says so"
    assert found.comparison.difference == 0, "losses are not taken for answers"
    assert json.loads(json.dumps(comparison_json(found, {})))["loss"]["p"] == found.loss.comparison.p < 0.05
    lines = comparison_text(found, {"only_a": [], "only_b": []}).splitlines()
    (line,) = [line for line in lines if line.startswith("loss ")]
    assert line.startswith("loss   A 0.4352, B 0.4796 nats a token; A - B -0.0444 (95 %: -0.0")
    assert line.endswith("; lower is better")


def test_losses_of_other_tokens_or_of_one_arm_alone_are_not_compared(store):
    """Another tokenizer splits a solution into other tokens; older runs have no losses."""
    append(store.table, record(store, "dora", [0], nats=[1.0] * 8))
    assert compare_two("lora", "dora", store).loss is None
    assert comparison_json(compare_two("lora", "dora", store), {})["loss"] is None
    one = select("dora", store)
    other = replace(one.losses, tokens=one.losses.tokens + 1)
    assert one.losses.paired_with(one.losses)
    assert not one.losses.paired_with(other)


def test_questions_are_paired_by_their_hash_and_not_by_their_number(tmp_path):
    """The same answers to the same questions, asked in another order in half of the runs."""
    names = [f"{i * 7 % 8}abc" for i in range(8)]
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    right = {"lora": ([0, 1, 2, 4], [0, 1, 2]), "antipasto": ([0, 5], [0, 5, 6])}
    results = []
    for shuffled in (False, True):
        store = Store(tmp_path / str(shuffled) / "results", tmp_path / str(shuffled) / "outputs")
        for variant, seeds in right.items():
            for seed, answered in enumerate(seeds):
                if shuffled and (variant, seed) != ("lora", 0):
                    moved = [order.index(i) for i in answered]
                    row = record(store, variant, moved, seed=seed, questions=[names[i] for i in order])
                else:
                    row = record(store, variant, answered, seed=seed, questions=names)
                append(store.table, row)
        results.append(compare_two("lora", "antipasto", store))
    plain, shuffled = results
    assert plain.comparison == shuffled.comparison
    assert plain.summaries == shuffled.summaries
    assert plain.only_a == shuffled.only_a == sorted(names[i] for i in (1, 2))
    assert plain.only_b == shuffled.only_b == [names[5]]
    assert (plain.a.scores == shuffled.a.scores).all()


def test_runs_on_as_many_but_other_questions_are_not_compared(store):
    append(store.table, record(store, "lora", [0], steps=7, questions=[*"0123456", "new"]))
    with pytest.raises(UserError, match="different questions"):
        compare_two("lora lr=1e-2 steps=300", "lora steps=7", store)


def test_both_answers_to_a_question_that_flipped_come_from_the_samples_of_each_arms_first_run(store):
    pair = compare_two("lora", "antipasto rotate_basis=V", store)
    with pytest.raises(UserError, match="is not on this machine"):
        answers(pair, pair.only_a, store)
    for arm, response in ((pair.a, "is 8"), (pair.b, "is 9")):
        folder = store.run_folder(arm.first.run_id)
        folder.path.mkdir(parents=True)
        samples = [
            {"split": split, "sha1": sha1, "prompt": f"{split} {sha1}?", "target": "#### 8", "response": response}
            for sha1 in map(str, range(8))
            for split in ("test", "valid")
        ]
        folder.samples.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    assert answers(pair, pair.only_a[:1], store) == [
        {"prompt": "test 1?", "target": "#### 8", "a": "is 8", "b": "is 9"}
    ]


@pytest.mark.slow
@pytest.mark.long
def test_the_command_shows_both_answers_to_what_flipped(tmp_path):
    words = ["steps=60", "batch_size=4", "eval.limit=60", "eval.valid_limit=6", "eval.batch_size=60", "costs=false"]
    bench("sweep", "base,lora", *words, cwd=tmp_path)
    done = bench("compare", "lora", "base", "--show", "2", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["questions"] == 60
    assert found["difference"] == pytest.approx((found["only_a"] - found["only_b"]) / 60)
    assert found["only_a"] > 0, "sixty steps teach something"
    for entry in found["shown"]["only_a"]:
        last = entry["target"].rsplit("#### ", 1)[1]
        assert last in entry["a"]
        assert not entry["b"].rstrip().endswith(last)
    text = bench("compare", "lora", "base", "--show", "1", cwd=tmp_path).stdout
    assert "right in A, wrong in B" in text
    assert "error: no finished run is 'dora'" in bench("compare", "lora", "dora", cwd=tmp_path, expect=2).stderr
