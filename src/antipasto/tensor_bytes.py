"""A tensor's memory as bytes, and safetensors files made of it. Neither needs numpy, which torch can do without."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from safetensors import TensorSpec, serialize
from torch import Tensor


def memory_of(tensor: Tensor) -> ctypes.Array[ctypes.c_char]:
    """The memory of a contiguous CPU tensor, not copied: a buffer that is valid while the tensor lives."""
    assert tensor.is_contiguous(), "its memory would hold its elements in another order"
    assert tensor.device.type == "cpu", "its memory would not be addressable"
    return (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()) if tensor.nbytes else (ctypes.c_char * 0)()


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file that holds tensors, from any device and of any memory layout, and text metadata."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}  # alive until the end
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tensor.shape,
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in on_cpu.items()
    }
    return bytes(serialize(specs, metadata))
