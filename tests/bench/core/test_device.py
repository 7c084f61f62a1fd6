"""Claims about which device a run's word names."""

from types import SimpleNamespace

import pytest
import torch
from torch.cuda._utils import _get_device_index

from antipasto_bench.core.device import WORKERS_ON_GPU, free_on_gpu, keep_to_share_of_gpu, pick_device, synchronise
from antipasto_bench.core.errors import UserError


@pytest.fixture
def current(monkeypatch) -> list[int]:
    """Two GPUs, and the index of the current one, at first 1."""
    index = [1]

    def set_device(device) -> None:
        index[0] = _get_device_index(device)  # torch's own check: ValueError without an index
        if index[0] > 1:
            raise RuntimeError("CUDA error: invalid device ordinal")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: index[0])
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    return index


def test_cuda_without_a_number_is_the_current_gpu(current):
    assert pick_device("cuda") == torch.device("cuda", 1)
    assert current == [1]


def test_a_gpu_that_is_named_becomes_the_current_one(current):
    assert pick_device("cuda:0") == torch.device("cuda", 0)
    assert current == [0]


def test_a_gpu_that_is_not_there_is_a_users_mistake(current):
    with pytest.raises(UserError, match="device=cuda:7: not available here; write device=cpu or device=auto"):
        pick_device("cuda:7")


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("spread", "waited_for"),
    [({}, {"cuda:1"}), ({"model.layers.0": 0, "model.layers.1": 1, "lm_head": "cpu"}, {"cuda:0", "cuda:1"})],
)
def test_a_clock_waits_for_every_gpu_that_a_model_lies_on(spread, waited_for, monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    first = SimpleNamespace(device=torch.device("cuda", 1))
    synchronise(SimpleNamespace(parameters=lambda: iter([first]), hf_device_map=spread))
    assert set(waited) == waited_for
    assert len(waited) == len(waited_for)


def test_a_worker_that_shares_its_gpu_keeps_to_its_share(current, monkeypatch):
    """Both what torch may allocate, and what a batch is chosen by."""
    bounds = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", bounds.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**30)
    gpu = torch.device("cuda", 1)
    keep_to_share_of_gpu()
    assert bounds == []
    assert free_on_gpu(gpu) == 70 * 2**30
    monkeypatch.setenv(WORKERS_ON_GPU, "16")
    keep_to_share_of_gpu()
    assert bounds == [pytest.approx(0.9 / 16)]
    assert free_on_gpu(gpu) == pytest.approx(3.5 * 2**30), "4.5 GiB, of which one is taken"
