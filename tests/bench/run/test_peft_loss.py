"""A claim about a whole training against PEFT's: the same start, data and steps end in the same held-out loss."""

from pathlib import Path

import pytest
from smollm2 import NANO, base_folder

from antipasto_bench.spec.compose import compose


def end_in_the_same_loss(run, folder: Path, within: float) -> None:
    pytest.importorskip("peft")
    from peft_training import losses_of_both

    losses = losses_of_both(run, folder)
    assert losses.ours == pytest.approx(losses.pefts, abs=within)
    assert losses.base - losses.ours > 0.05, "they were trained"


@pytest.mark.long
@pytest.mark.slow
def test_our_lora_ends_at_the_test_loss_of_pefts(tmp_path):
    given = {"steps": 30, "batch_size": 4, "grad_accum": 2, "lr": 5e-3, "eval.limit": 100, "eval.valid": "none"}
    end_in_the_same_loss(compose("lora", given | {"device": "cpu"}, "nano"), tmp_path / "start", 1e-4)


@pytest.mark.real
@pytest.mark.long
def test_our_lora_ends_at_the_test_loss_of_pefts_on_a_real_model(tmp_path):
    base_folder()
    given = {"steps": 4, "batch_size": 2, "lr": 1e-3, "dtype": "float32", "device": "cpu", "data.overlap": "allow"}
    given |= {"data.train": str(NANO / "train.parquet"), "eval.tasks": "nano_metamath", "eval.limit": 4}
    run = compose("lora", given | {"eval.valid": "none"}, "smollm2-135m")
    end_in_the_same_loss(run, tmp_path / "start", 1e-3)
