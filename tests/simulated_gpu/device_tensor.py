"""Tensors of the simulated device: each wraps a tensor of the host, which the CPU's kernels compute with.

Importing this module registers torch's Python backend for PrivateUse1, for the whole process and for good.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from device_state import STATE, CopyFromHost, CopyToHost
from torch import Tensor
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

BACKEND = "simulated"
_setup_privateuseone_for_python_backend(BACKEND)
BACKEND_DEVICE = torch.device(BACKEND, 0)  # what torch's dispatcher knows it as
CUDA = torch.device("cuda", 0)  # what users of the tensors see

# Operations that launch nothing on a GPU: they return views, or memory as it is.
LAUNCH_NOTHING = frozenset(
    "_reshape_alias _unsafe_view alias as_strided detach diagonal empty empty_like empty_strided expand is_same_size "
    "lift_fresh new_empty new_empty_strided permute resize_ select set_ slice split split_with_sizes squeeze t "
    "transpose unbind unfold unsqueeze view view_as".split()
)
# Operations whose result, or its shape, the host has to wait for.
WAIT = frozenset(
    "_local_scalar_dense _unique2 equal is_nonzero masked_select nonzero repeat_interleave unique_consecutive "
    "unique_dim".split()
)
COPY = frozenset("_copy_from _copy_from_and_resize _to_copy copy_".split())
INDEX = frozenset("_index_put_impl_ _unsafe_index _unsafe_index_put index index_put index_put_".split())
FILL = frozenset("fill_ masked_fill masked_fill_".split())


class SimulatedTensor(torch.Tensor):
    """A tensor that says it is on `cuda:0`."""

    _host: Tensor  # the values
    _storage_key: list[int]  # of one element, that a finalizer can see change

    @staticmethod
    def __new__(cls, host: Tensor) -> SimulatedTensor:
        assert not isinstance(host, SimulatedTensor)
        tensor: SimulatedTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=BACKEND_DEVICE,
        )
        tensor._host = host
        tensor._storage_key = [STATE.allocate(host)]
        weakref.finalize(tensor, _free, tensor._storage_key)
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def data(self) -> Tensor:
        return SimulatedTensor(self._host.detach())

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, SimulatedTensor):
            raise RuntimeError("Attempted to call `variable.set_data(tensor)`, but `tensor` is of another device")
        assert (new.shape, new.dtype, new.stride()) == (self.shape, self.dtype, self.stride())
        self._host = new._host.detach()
        old, self._storage_key[0] = self._storage_key[0], STATE.allocate(new._host)
        STATE.free(old)

    def untyped_storage(self) -> torch.UntypedStorage:
        return self._host.untyped_storage()

    def data_ptr(self) -> int:
        return self._host.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def pin_memory(self, *args: Any, **kwargs: Any) -> Tensor:
        raise RuntimeError("cannot pin a CUDA tensor; only dense CPU tensors can be pinned")

    def is_pinned(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"SimulatedTensor({self._host!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            new: Tensor = SimulatedTensor(self._host.detach().clone())
            is_parameter = getattr(self, "_is_param", False)
            memo[id(self)] = torch.nn.Parameter(new, self.requires_grad) if is_parameter else new
            new.requires_grad_(self.requires_grad)
        copied: Tensor = memo[id(self)]
        return copied

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return compute(func, args, kwargs or {})


def _free(storage_key: list[int]) -> None:
    STATE.free(storage_key[0])


def is_simulated(device: Any) -> bool:
    return device is not None and torch.device(device).type in (BACKEND, "cuda")


def is_pinned(tensor: Tensor) -> bool:
    return getattr(tensor, "_simulated_pin", False)


def pin(tensor: Tensor) -> Tensor:
    """Mark a tensor of the host as page-locked."""
    tensor._simulated_pin = True  # type: ignore[attr-defined]
    return tensor


def compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation of the dispatcher, on the values of its tensors.

    Raises:
        RuntimeError: its tensors lie on both devices, where CUDA would not allow that.
        AcceleratorError: the device is in an error state.
        OutOfMemoryError: the result does not fit.
    """
    if STATE.sticky_error is not None:
        raise torch.AcceleratorError(STATE.sticky_error)
    name = func._schema.name.split("::")[1]
    tensors = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
    _check_devices(func, name, args, tensors)
    if name == "copy_" and not isinstance(args[0], SimulatedTensor):
        return _copy_to_host(*args, **kwargs)
    if name == "copy_" and not isinstance(args[1], SimulatedTensor):
        _count_copy_from_host(*args, **kwargs)
    kwargs = dict(kwargs)
    requested = kwargs.get("device")
    takes_simulated = any(isinstance(tensor, SimulatedTensor) for tensor in tensors)
    gives_simulated = takes_simulated if requested is None else is_simulated(requested)
    if is_simulated(requested):
        kwargs["device"] = torch.device("cpu")
    pinned = bool(kwargs.pop("pin_memory", None))
    if takes_simulated and name == "_to_copy" and not gives_simulated:
        if kwargs.get("non_blocking"):  # torch takes pinned memory for it
            return _copy_to_host(pin(torch.empty_like(args[0]._host, dtype=kwargs.get("dtype"))), args[0], True)
        STATE.wait("copy to host")
    if takes_simulated and name in WAIT:
        STATE.wait(name)
    if name not in LAUNCH_NOTHING and (takes_simulated or gives_simulated):
        STATE.launches[str(func)] += 1

    wrappers: dict[int, SimulatedTensor] = {}  # an operation in place returns the tensor that it was given

    def host_of(leaf: Any) -> Any:
        if isinstance(leaf, SimulatedTensor):
            wrappers[id(leaf._host)] = leaf
            return leaf._host
        return leaf

    def result_of(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if id(leaf) in wrappers:
            return wrappers[id(leaf)]
        if gives_simulated:
            return SimulatedTensor(leaf)
        return pin(leaf) if pinned else leaf

    host_kwargs = {key: _map(host_of, value) for key, value in kwargs.items()}
    return _map(result_of, func(*_map(host_of, args), **host_kwargs))


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values and their lists: operations of the dispatcher nest no further."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """As tree_map of torch, which takes longer than most operations."""
    if isinstance(value, list | tuple):
        return type(value)([_map(function, part) for part in value])
    return function(value)


def _copy_to_host(target: Tensor, source: SimulatedTensor, non_blocking: bool = False) -> Tensor:
    """Copy to the host; a non-blocking copy to pinned memory leaves NaN (or 77) there until it is waited for."""
    if not (non_blocking and is_pinned(target)):
        STATE.wait("copy to host")
        return torch.Tensor.copy_(target, source._host)
    STATE.launches["copy to host"] += 1
    torch.Tensor.fill_(target, float("nan") if target.is_floating_point() else 77)
    STATE.pending.append(CopyToHost(target, source._host.detach().clone()))
    return target


def _count_copy_from_host(target: SimulatedTensor, source: Tensor, non_blocking: bool = False) -> None:
    if non_blocking and is_pinned(source):
        STATE.pending.append(CopyFromHost(source, source._version))
    else:
        STATE.count_wait("copy from pageable memory")


def _check_devices(func: Any, name: str, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """Refuse tensors of both devices in one operation, but where CUDA takes them."""
    host = [tensor for tensor in tensors if not isinstance(tensor, SimulatedTensor)]
    if name in COPY or len(host) in (0, len(tensors)):
        return
    first_is_simulated = isinstance(args[0], SimulatedTensor)
    if name in INDEX:
        values = args[2:3] if "put" in name else ()
        if first_is_simulated and all(isinstance(v, SimulatedTensor) or v.dim() == 0 for v in values):
            STATE.wait("copy of indices from the host")
            return
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    if all(tensor.dim() == 0 for tensor in host):  # numbers, which CUDA takes from the host
        if name in FILL and first_is_simulated:
            return
        written_on_host = func._schema.is_mutable and isinstance(args[0], torch.Tensor) and not first_is_simulated
        if torch.Tag.pointwise in func.tags and not name.startswith(("_foreach", "_fused")) and not written_on_host:
            return
    both = "found at least two devices, cuda:0 and cpu!"
    raise RuntimeError(f"Expected all tensors to be on the same device, but {both} ({func})")


def _without_tensors(func: Any, *args: Any, **kwargs: Any) -> Any:
    """What comes without a tensor of the class, such as `torch.empty(2, device="cuda")`."""
    return compute(func, args, kwargs)


_library = torch.library.Library("_", "IMPL")
_library.fallback(_without_tensors, "PrivateUse1")
