"""Claims about every variant: on a GPU it gives the CPU's numbers, and its steps neither wait nor leave anything."""

import pytest
import torch
from device_life import outputs_of_a_life
from safetensors.torch import load_file
from small_runs import one_layer
from tiny_model import ALL, configs, name_of, trained_configs

import antipasto
from antipasto.decompositions import non_finite
from antipasto_bench.run.examples import IGNORED
from antipasto_bench.run.models import load_model
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.spec.compose import compose
from simulated_gpu import gpu

ONE_LAYER = compose("base", {"model": one_layer()}, "nano")


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What loading a model imports late is imported before there is a GPU."""
    load_model(ONE_LAYER)


@pytest.fixture(autouse=True)
def no_svd_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each device decomposes by itself."""
    monkeypatch.setenv("ANTIPASTO_CACHE", "off")


@pytest.mark.parametrize("cfg", configs(), ids=name_of)
def test_training_merging_saving_and_loading_give_the_bits_of_the_cpu(cfg, tmp_path):
    expected = outputs_of_a_life(cfg, "cpu", tmp_path)
    with gpu() as device:
        outputs = outputs_of_a_life(cfg, "cuda", tmp_path)
        assert device.peak > 0
    assert len(outputs) == len(expected) >= 3
    assert all(torch.equal(one, other) for one, other in zip(outputs, expected, strict=True))
    adapters = [load_file(tmp_path / f"{name}.safetensors") for name in ("cpu", "cuda")]
    assert adapters[0].keys() == adapters[1].keys()
    assert all(torch.equal(tensor, adapters[1][name]) for name, tensor in adapters[0].items())


@pytest.mark.parametrize("cfg", trained_configs(), ids=name_of)
def test_a_step_waits_for_nothing_and_leaves_no_memory_taken(cfg):
    with gpu() as device:
        model, _ = load_model(ONE_LAYER)
        ids = torch.arange(24).view(2, 12)
        batch = {"input_ids": ids, "labels": ids.masked_fill(ids % 12 < 6, IGNORED)}
        assert cfg.target_names == ALL
        own = {key: value for key, value in cfg.to_dict().items() if key not in ("variant", "target_names", "r")}
        rank = None if cfg.r is None else 32
        of_nano = antipasto.CONFIGS[cfg.variant](**own | {"r": rank, "target_names": ("down_proj",)})
        calibrates = of_nano.needs_data()
        antipasto.attach(model, of_nano, [{"input_ids": torch.arange(1, 129).view(4, 32)}] if calibrates else None)
        optimizer = AdapterOptimizer(model.train(), ONE_LAYER)
        for _ in range(2):
            optimizer.step([batch], 1e-3).read()
        allocated = device.allocated
        device.forget_waits()
        metrics = optimizer.step([batch], 1e-3)
        assert not device.waits, dict(device.wait_places)
        loss, norm = metrics.read()
        assert loss > 0
        assert norm > 0
        del metrics
        assert device.allocated == allocated


def test_checksums_and_a_search_for_nan_wait_once_for_all_tensors_and_copy_none():
    with gpu() as device:
        tensors = {str(n): torch.ones(1_000_000 + n, dtype=torch.bfloat16).to("cuda") for n in range(5)}
        tensors["4"][7] = torch.nan
        allocated = device.allocated
        device.forget_waits()
        device.peak = device.allocated
        first = antipasto.tensor_checksums(tensors)
        assert device.waits.total() == 1, dict(device.wait_places)
        device.forget_waits()
        assert non_finite(tensors.items()) == ["4"]
        assert device.waits.total() == 1, dict(device.wait_places)
        assert device.peak - allocated < 100_000
        tensors["2"][9] = 2
        changed = antipasto.tensor_checksums(tensors)
        assert [name for name in tensors if changed[name] != first[name]] == ["2"]
