"""The names by which torch is told of a device: `device=` arguments, `.to`, `.cuda`, pinned memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from device_state import STATE
from device_tensor import BACKEND_DEVICE, SimulatedTensor, is_pinned, is_simulated, pin
from torch.overrides import TorchFunctionMode

# torch makes these by resizing an empty tensor, which a wrapper does not follow.
BUILT_ON_HOST = frozenset("arange asarray eye linspace logspace randperm range tensor".split())
TAKE_DEVICE_BY_POSITION = frozenset("_parse_to _to_copy empty parse_to to type".split())
FACTORIES = (
    "arange as_tensor empty empty_like empty_strided eye full full_like linspace ones ones_like rand randint randn "
    "randperm tensor tril_indices triu_indices zeros zeros_like"
).split()


def _backend_name(value: Any) -> Any:
    """The backend's own device where a value names `cuda`; any other value as it is."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return BACKEND_DEVICE
    if isinstance(value, str) and value.startswith("cuda"):
        if value not in ("cuda", "cuda:0"):
            raise torch.AcceleratorError("CUDA error: invalid device ordinal")
        return BACKEND_DEVICE
    return value


class CudaNames(TorchFunctionMode):
    """Puts what is to be on `cuda` onto the simulated device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _backend_name(kwargs["device"])
        if name in TAKE_DEVICE_BY_POSITION:
            args = tuple(map(_backend_name, args))
        if name == "cuda":
            return args[0].to(BACKEND_DEVICE)
        if name in BUILT_ON_HOST and is_simulated(kwargs.get("device")):
            return _build_on_host(func, name, args, kwargs)
        if name == "pin_memory" and not isinstance(args[0], SimulatedTensor):
            return pin(args[0].clone())
        if name == "is_pinned":
            return is_pinned(args[0])
        of_host = not is_simulated(kwargs.get("device")) and not any(isinstance(a, SimulatedTensor) for a in args)
        if kwargs.get("pin_memory") and of_host:
            del kwargs["pin_memory"]  # a build without CUDA has none
            return pin(func(*args, **kwargs))
        return func(*args, **kwargs)


def _build_on_host(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    tensor = func(*args, **kwargs | {"device": "cpu"})
    STATE.launches[f"aten.{name}"] += 1
    if name == "tensor":
        STATE.count_wait("copy from pageable memory")
    moved: torch.Tensor = tensor.to(BACKEND_DEVICE) if tensor.requires_grad else SimulatedTensor(tensor)
    return moved


def in_every_thread(factory: Callable[..., Any]) -> Callable[..., Any]:
    """A factory such as `torch.empty` that knows the names in a backward pass too: its threads have no mode."""

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("device") is None:
            return factory(*args, **kwargs)
        with CudaNames():
            return factory(*args, **kwargs)

    return make
