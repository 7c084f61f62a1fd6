"""Claims about which adapter is recommended: what the verdicts show, its price, and what is left open, in words."""

import pytest
from recorded import record

from antipasto_bench.analysis.compared_sections import ComparedSection, compared_sections
from antipasto_bench.report.recommended import Recommended, recommended
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append

N = 400


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "outputs")


def add(
    store: Store, variant: str, right: int, size: int, seeds: int = 3, nats: float | None = None, first: int = 0
) -> None:
    """An arm: how many of N questions each seed has right, how many parameters it trains, its loss a question.

    Args:
        first: of the questions that it has right.
    """
    for seed in range(seeds):
        losses = None if nats is None else [nats + (i + seed) % 5 / 4 for i in range(N)]
        fields, questions = {"trained_parameters": size}, list(range(first, first + right + seed))
        append(store.table, record(store, variant, questions, n=N, nats=losses, seed=seed, fields=fields))


def of_one(store: Store) -> tuple[Recommended, ComparedSection]:
    (section,) = compared_sections(store)
    return recommended(section), section


def test_the_most_accurate_of_the_better_arms_is_the_best_and_the_smallest_that_is_no_worse_the_cheapest(store):
    add(store, "lora", 200, 1000)
    add(store, "dora", 330, 2000)
    add(store, "hra", 380, 3000)
    add(store, "ia3", 340, 10)
    said, _ = of_one(store)
    assert said.headline == "Use hra r=16; for fewer parameters, ia3."
    assert [row.arm.name for row in said.to_use] == ["hra r=16", "ia3"], "the page has the figures of both"
    assert said.sentences[0].startswith("hra r=16 is the best of 3: 95.2 % (")
    assert " points (" in said.sentences[0]
    assert said.sentences[0].endswith(" against lora r=16, and 2 more surely beat it.")
    assert said.sentences[1] == (
        "Of those shown to be no worse than lora r=16 by accuracy, ia3 trains the fewest parameters: 10 where lora "
        "r=16 trains 1,000."
    )
    assert len(said.sentences) == 2, "nothing is undecided"


def test_full_fine_tuning_is_no_adapter_so_that_the_best_of_those_is_named_beside_it(store):
    add(store, "lora", 200, 1000)
    add(store, "full", 390, 90000)
    said, _ = of_one(store)
    assert said.best.arm.variant == "full"
    assert [row.arm.name for row in said.to_use] == ["lora r=16", "full"]
    assert said.headline == (
        "Full fine-tuning is the best; of the adapters use lora r=16: no other is shown to be better, and nothing with "
        "fewer trained parameters is shown to be as good."
    )
    add(store, "dora", 300, 2000)
    add(store, "hra", 350, 2000)
    said, _ = of_one(store)
    assert said.headline.startswith("Use full; for fewer parameters, "), "those are better, and cheaper than full"
    assert [row.arm.variant for row in said.to_use] in (["dora", "full"], ["hra", "full"])


def test_what_is_cheaper_is_said_of_the_right_arm_where_the_best_is_cheaper_or_dearer_than_the_reference(store):
    add(store, "lora", 200, 1000)
    add(store, "hra", 380, 900)
    said, _ = of_one(store)
    assert said.sentences[1] == (
        "hra r=16 has 900 trained parameters where lora r=16 has 1,000; nothing with fewer is shown to be no worse "
        "than lora r=16."
    )
    add(store, "pissa", 395, 3000)
    add(store, "dora", 201, 2000)  # no worse than lora, and dearer
    said, section = of_one(store)
    assert "no worse" in {verdict.word for verdict in section.verdicts.values()}
    assert said.headline == "Use pissa r=16; for fewer parameters, hra r=16."


def test_an_arm_that_is_dearer_than_the_reference_has_to_be_better(store):
    add(store, "lora", 200, 1000, nats=20.0)
    add(store, "dora", 201, 2000, nats=20.0)
    add(store, "pissa", 395, 3000, nats=20.0)
    said, _ = of_one(store)
    assert (
        said.headline == "Use pissa r=16: the best, and nothing with fewer trained parameters is shown to be as good."
    )
    add(store, "hra", 340, 2500, nats=20.0)
    said, _ = of_one(store)
    assert said.sentences[1].startswith(
        "Of those shown to be better than lora r=16 by accuracy, hra r=16 trains the fewest parameters: 2,500 "
    )


def test_an_arm_that_is_surely_worse_by_less_than_the_margin_is_not_called_no_worse(store):
    add(store, "lora", 200, 1000)
    add(store, "ia3", 185, 10)
    (store.results / "plan.yaml").write_text("margin: 10\n")
    said, section = of_one(store)
    assert section.verdicts[1].shown == "worse, not by the margin"
    assert said.headline == "Use lora r=16: nothing tried is shown to be better."
    assert said.cheapest is None


def test_a_headline_that_follows_from_held_out_loss_alone_says_so(store):
    add(store, "lora", 200, 1000, nats=20.0)
    add(store, "dora", 204, 900, nats=20.0, first=100)
    said, section = of_one(store)
    assert [verdict.word for verdict in section.verdicts.values()] == ["undecided"]
    assert said.headline == (
        "Use dora r=16 if held-out loss is what you ask for: no worse by it than lora r=16, with fewer trained "
        "parameters. Accuracy leaves it undecided."
    )


def test_of_one_trained_arm_and_the_untuned_model_nothing_is_recommended(store):
    add(store, "lora", 200, 1000, nats=20.0)
    append(store.table, record(store, "base", list(range(20)), n=N, nats=[26.0] * N))
    said, section = of_one(store)
    assert len(section.verdicts) == 1
    assert said.headline == "Only lora r=16 was trained: there is nothing to choose from."
    (sentence,) = said.sentences
    assert sentence.startswith("lora r=16 has 50.2 % (")
    assert sentence.endswith("is worse by accuracy and by held-out loss.")


def test_where_accuracy_shows_nothing_and_held_out_loss_shows_the_others_worse_the_headline_says_it(store):
    add(store, "lora", 200, 1000, nats=20.0)
    add(store, "dora", 204, 900, nats=26.0, first=100)
    add(store, "hra", 204, 900, nats=20.0, first=100)
    said, section = of_one(store)
    assert {section.arms[i].arm.variant: v.shown for i, v in section.loss_verdicts.items()}["dora"] == "worse"
    assert ", 1 of them worse by held-out loss" in said.sentences[-1], "beside one that is not"
    lone = Store(store.results.parent / "lone", store.outputs)
    add(lone, "lora", 200, 1000, nats=20.0)
    add(lone, "dora", 204, 900, nats=26.0, first=100)
    said, _ = of_one(lone)
    assert said.headline == "Use lora r=16: by held-out loss dora r=16 is worse; accuracy leaves it undecided."
    assert said.sentences[-1].startswith(
        "dora r=16 is undecided by accuracy, and worse by held-out loss, +0.0286 (+0.0271 to +0.0302) nats"
    )
    assert said.measure == "loss", "by which the page draws the arms"
    add(lone, "hra", 204, 900, nats=26.0, first=100)
    said, _ = of_one(lone)
    assert said.headline == "Use lora r=16: by held-out loss the others are worse; accuracy leaves both undecided."


def test_where_nothing_is_shown_the_reference_stays_and_the_open_arms_are_counted_with_the_runs_that_decide(store):
    add(store, "lora", 200, 1000, seeds=2)
    add(store, "dora", 204, 900, seeds=2, first=100)
    said, section = of_one(store)
    assert section.verdicts[0].word == "undecided"
    assert said.headline == "Use lora r=16: nothing tried is shown to be better; dora r=16 is undecided."
    assert "of all that was tried dora r=16 scores highest, " in said.sentences[0]
    assert said.sentences[1] == "Nothing with fewer trained parameters than lora r=16 (1,000) is shown to be no worse."
    assert said.sentences[2].startswith("dora r=16 is undecided by accuracy")
    assert "antipasto-bench plan-more" in said.sentences[2]


def test_held_out_loss_recommends_where_accuracy_shows_nothing_better(store):
    add(store, "lora", 200, 1000, nats=20.0)
    add(store, "dora", 201, 2000, nats=5.0)
    add(store, "ia3", 20, 10, nats=4.0)
    said, _ = of_one(store)
    assert said.best is not None
    assert said.best.arm.name == "dora r=16", "ia3 has the lower loss, and is surely worse by accuracy"
    assert said.sentences[0].startswith("Accuracy shows no arm better than lora r=16, but the held-out loss")
    assert said.cheapest is None
    assert said.measure == "loss"


def test_what_one_measure_finds_worse_the_other_does_not_recommend(store):
    add(store, "lora", 200, 1000, nats=20.0)
    add(store, "ia3", 201, 10, nats=40.0)
    add(store, "dora", 201, 100, nats=20.0)
    said, section = of_one(store)
    words = {section.arms[i].arm.variant: verdict.word for i, verdict in section.verdicts.items()}
    assert words == {"ia3": "no worse", "dora": "no worse"}, "by accuracy; ia3 has twice the loss"
    assert said.cheapest is not None
    assert said.cheapest.arm.name == "dora r=16"
    assert said.headline == "Use dora r=16: no worse than lora r=16, with fewer trained parameters."


def test_runs_of_one_seed_recommend_nothing(store):
    add(store, "lora", 200, 1000, seeds=1)
    add(store, "dora", 300, 1000, seeds=1)
    said, _ = of_one(store)
    assert said.headline == "No arm can be recommended on these runs."
    assert said.best is None
    assert said.sentences[0].startswith("These runs only")


def test_an_arm_alone_and_rows_that_are_not_compared_recommend_nothing_and_say_why(store):
    add(store, "lora", 200, 1000)
    said, _ = of_one(store)
    assert (said.headline, said.sentences) == ("There is nothing to compare yet.", [])
    append(store.table, record(store, "dora", [0, 1], questions=[f"other {i}" for i in range(8)]))
    said, _ = of_one(store)
    assert (said.headline, said.sentences) == ("These rows are not compared, so none is recommended.", [])
