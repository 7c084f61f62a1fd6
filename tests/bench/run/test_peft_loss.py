"""A claim about a whole training against PEFT's: the same start, data and steps end in the same held-out loss."""

import pytest

from antipasto_bench.spec.compose import compose


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "preset", "given"),
    [("nano", "nano", {"steps": 30, "batch_size": 4, "grad_accum": 2, "lr": 5e-3, "eval.limit": 100})],
)
def test_our_lora_ends_at_the_test_loss_of_pefts(model, preset, given, tmp_path):
    """Any model can stand here; see peft_training.py."""
    pytest.importorskip("peft")
    from peft_training import losses_of_both

    run = compose("lora", {"model": model, "dtype": "float32", "device": "cpu", "eval.valid": "none"} | given, preset)
    losses = losses_of_both(run, tmp_path / "start")
    assert losses.ours == pytest.approx(losses.pefts, abs=1e-4)
    assert losses.base - losses.ours > 0.05, "they were trained"
