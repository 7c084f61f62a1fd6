"""What `torch.cuda` says and does while the simulated GPU is there: one device, one stream, its memory, its events."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from device_state import STATE, Copy
from device_tensor import CUDA, SimulatedTensor
from torch import Tensor
from torch.cuda._utils import _get_device_index


class Event:
    """Done when all that was begun before it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._copies: list[Copy] = []

    def record(self, stream: Any = None) -> None:
        self._copies = list(STATE.pending)

    def synchronize(self) -> None:
        STATE.count_wait("event")
        STATE.finish(self._copies)

    def wait(self, stream: Any = None) -> None:
        pass  # there is one stream

    def query(self) -> bool:
        return not any(copy in STATE.pending for copy in self._copies)

    def elapsed_time(self, other: Event) -> float:
        return 0.0


class Stream:
    cuda_stream = 0
    device = CUDA
    device_index = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def synchronize(self) -> None:
        STATE.wait("stream")

    def wait_stream(self, other: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record()
        return event

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


def _check_index(device: Any) -> None:
    """Refuse what torch.cuda refuses, where it may do without an index."""
    if device is not None:
        _get_device_index(device, optional=True, allow_cpu=False)


def cuda_functions(total: int, name: str) -> dict[str, Any]:
    """The functions and classes of `torch.cuda` by name, for a device of `total` bytes."""
    properties = SimpleNamespace(
        total_memory=total, name=name, major=9, minor=0, multi_processor_count=132, is_integrated=False
    )
    generator_state = [torch.zeros(16, dtype=torch.uint8)]

    def set_device(device: Any) -> None:
        if _get_device_index(device) > 0:  # as torch's own: ValueError without an index
            raise torch.AcceleratorError("CUDA error: invalid device ordinal")

    def allocated(device: Any = None) -> int:
        _check_index(device)
        return STATE.allocated

    def peak(device: Any = None) -> int:
        _check_index(device)
        return STATE.peak

    def reset_peak(device: Any = None) -> None:
        _check_index(device)
        STATE.peak = STATE.allocated

    def free_and_total(device: Any = None) -> tuple[int, int]:
        _check_index(device)
        return (STATE.limit or total) - STATE.allocated, total

    def device_name(device: Any = None) -> str:
        _check_index(device)
        return name

    def device_properties(device: Any = None) -> SimpleNamespace:
        _check_index(device)
        return properties

    def set_generator_state(state: Tensor, device: Any = "cuda") -> None:
        assert state.dtype == torch.uint8
        assert not isinstance(state, SimulatedTensor)
        generator_state[0] = state.clone()

    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": set_device,
        "is_initialized": lambda: True,
        "_is_compiled": lambda: False,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "synchronize": lambda device=None: STATE.wait("synchronize"),
        "empty_cache": lambda: None,
        "ipc_collect": lambda: None,
        "Event": Event,
        "Stream": Stream,
        "current_stream": lambda device=None: Stream(),
        "default_stream": lambda device=None: Stream(),
        "mem_get_info": free_and_total,
        "memory_allocated": allocated,
        "memory_reserved": allocated,
        "max_memory_allocated": peak,
        "max_memory_reserved": peak,
        "reset_peak_memory_stats": reset_peak,
        "get_device_name": device_name,
        "get_device_properties": device_properties,
        "get_device_capability": lambda device=None: (9, 0),
        "is_bf16_supported": lambda *args, **kwargs: True,
        "get_rng_state": lambda device="cuda": generator_state[0].clone(),
        "set_rng_state": set_generator_state,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "is_current_stream_capturing": lambda: False,
    }
