"""Claims about what one run of a process leaves to the next."""

import pytest
from small_runs import SAME, make, one_layer, result_of, store_in
from small_runs import small as of_the_whole_model

from antipasto_bench.run import execute as execute_module
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.table import read_table

pytestmark = pytest.mark.slow


def small(variant: str, **given: object) -> RunConfig:
    return of_the_whole_model(variant, model=one_layer(), **given)


@pytest.mark.long
def test_a_second_run_on_the_same_base_model_gives_the_bits_of_a_fresh_one(tmp_path):
    first, second = small("lora"), small("antipasto")
    fresh, reused, models = store_in(tmp_path / "fresh"), store_in(tmp_path / "reused"), ModelCache()
    make(second, fresh)
    make(first, reused, models=models)
    assert models.holds_a_model
    make(second, reused, models=models)
    assert result_of(second, reused) == result_of(second, fresh)


@pytest.mark.long
def test_a_base_model_that_served_other_runs_gives_the_bits_of_a_fresh_one(tmp_path):
    runs = [small(name, steps=6, **{"eval.limit": 8}) for name in ("lora", "pissa", "antipasto", "base")]
    fresh, reused, models = store_in(tmp_path / "fresh"), store_in(tmp_path / "reused"), ModelCache()
    for run in [*runs, runs[0]]:
        make(run, fresh)
    model = None
    for run in [*runs[::-1], runs[0]]:
        make(run, reused, models=models)
        lent, _ = models.model(run)
        models.drop_lent() if model is not None and lent is not model else setattr(models, "_lent", False)
        assert model is None or lent is model, "loaded once"
        model = lent
    for run in runs[:3]:
        assert result_of(run, reused) == result_of(run, fresh)
    tables = [read_table(store.table).sort("run_id").select("run_id", *SAME) for store in (fresh, reused)]
    assert tables[0].equals(tables[1], null_equal=True)


def test_a_base_model_that_was_changed_is_not_lent_again(tmp_path):
    run, models = small("base"), ModelCache()
    model, _ = models.model(run)
    next(model.parameters()).data[0] += 1
    with pytest.warns(UserWarning, match="is not as it was before base; it is loaded anew"):
        models.give_back(run, model)
    assert models.model(run)[0] is not model


def test_runs_of_one_base_model_share_its_general_loss(tmp_path, monkeypatch):
    """It is measured once before training, by whichever run comes first, and once for each adapter behind it."""
    measured, of_run = [], execute_module.measure_general_loss

    def counted(run, *given):
        measured.append(run.variant)
        return of_run(run, *given)

    monkeypatch.setattr(execute_module, "measure_general_loss", counted)
    given = {"steps": 2, "eval.limit": 2, "eval.valid": "none", "eval.general_limit": 10}
    given["eval.general"] = compose("base", {}, "nano").eval.general
    store, models = store_in(tmp_path), ModelCache()
    first, *others = [make(small(name, **given), store, models=models).record for name in ("lora", "base", "ia3")]
    assert measured == ["lora", "lora", "ia3"]
    for record in others:
        assert record.general_loss_base == first.general_loss_base
    assert others[0].general_loss == first.general_loss_base
    assert others[1].general_loss != first.general_loss_base
    make(small("lora", **given | {"data.max_length": 128}), store, models=models)
    assert measured[3:] == ["lora", "lora"], "of texts that are cut elsewhere it is another"
