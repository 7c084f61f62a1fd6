"""Every variant on a real GPU, where there is one: the CPU's numbers, in float64, and bfloat16 that trains."""

import pytest
import torch
from device_life import outputs_of_a_life
from tiny_model import configs, name_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


# Their cores start at random numbers among singular directions, whose signs another library's SVD may choose otherwise:
# there the same seed is another start.
STARTS_BY_SIGNS = ("lora_xs", "antipasto_dplr", "antipasto_ablate")


@pytest.mark.parametrize("cfg", [cfg for cfg in configs() if cfg.variant not in STARTS_BY_SIGNS], ids=name_of)
def test_training_merging_saving_and_loading_give_the_numbers_of_the_cpu(cfg, tmp_path):
    expected = outputs_of_a_life(cfg, "cpu", tmp_path, torch.float64)
    outputs = outputs_of_a_life(cfg, "cuda", tmp_path, torch.float64)
    assert len(outputs) == len(expected) >= 3
    for one, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)  # adapters are kept in float32


@pytest.mark.parametrize("cfg", configs(), ids=name_of)
def test_all_of_it_is_finite_in_bfloat16_and_moves(cfg, tmp_path):
    *_, adapted, disabled, loaded = outputs_of_a_life(cfg, "cuda", tmp_path, torch.bfloat16)
    assert all(output.isfinite().all() for output in (adapted, disabled, loaded))
    if cfg.trains:
        assert not torch.equal(adapted, disabled)
