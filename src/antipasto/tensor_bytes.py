"""A tensor's memory as bytes: its checksum, and safetensors files made of it. Neither needs numpy, which torch can do
without."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Mapping

import torch
from safetensors import TensorSpec, serialize
from torch import Tensor


def memory_of(tensor: Tensor) -> ctypes.Array[ctypes.c_char]:
    """The memory of a contiguous CPU tensor, not copied: a buffer that is valid while the tensor lives."""
    assert tensor.is_contiguous(), "its memory would hold its elements in another order"
    assert tensor.device.type == "cpu", "its memory would not be addressable"
    return (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()) if tensor.nbytes else (ctypes.c_char * 0)()


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file that holds tensors, from any device and of any memory layout, and text metadata.

    The same content gives the same bytes.
    """
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
    return _with_metadata_in_order(bytes(serialize(specs, metadata)), metadata or {})


def _with_metadata_in_order(file: bytes, metadata: dict[str, str]) -> bytes:
    """The file with its metadata in the order given: safetensors writes them in another one each time."""
    if len(metadata) < 2:
        return file
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = metadata
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as safetensors aligns the tensors
    return len(text).to_bytes(8, "little") + text + file[end:]


CHUNK = 2**18  # elements that are copied at one time, where a tensor cannot be read in place
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def tensor_checksums(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """One integer for each tensor: the sum of its memory, read as 64-bit integers, modulo 2^64. 0 on the meta device.

    Changing any one value changes it; several changes could cancel. A tensor is summed where it lies, without a copy,
    and there is one wait for each device, not one for each tensor.
    """
    sums: dict[torch.device, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not tensor.is_meta:
            sums.setdefault(tensor.device, {})[name] = _checksum(tensor.detach())
    checksums = dict.fromkeys(tensors, 0)
    for of_device in sums.values():
        checksums |= zip(of_device, torch.stack(list(of_device.values())).tolist(), strict=True)
    return checksums


def _checksum(tensor: Tensor) -> Tensor:
    """The sum as an int64 () on the tensor's device."""
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for part in _contiguous_parts(tensor):
        in_a_word = max(1, 8 // part.element_size())
        words = len(part) // in_a_word * in_a_word if part.storage_offset() % in_a_word == 0 else 0
        if words:
            total += part[:words].view(torch.int64).sum()
        for rest in part[words:].split(CHUNK):  # a sum of shorter integers copies them to 64 bits
            total += rest.view(INTEGERS[min(8, rest.element_size())]).sum(dtype=torch.int64)
    return total


def _contiguous_parts(tensor: Tensor) -> Iterator[Tensor]:
    """All elements of a tensor, as one-dimensional tensors without gaps; small copies where it has gaps itself."""
    tensor = tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))  # of a transposed tensor
    if tensor.is_contiguous() or tensor.numel() <= CHUNK:
        yield tensor.contiguous().reshape(-1)
        return
    for part in tensor.split(max(1, CHUNK * len(tensor) // tensor.numel())):
        yield from _contiguous_parts(part if len(tensor) > 1 else part[0])
