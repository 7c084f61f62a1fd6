"""Claims about files written without numpy: they are what safetensors itself writes, and the memory is the tensor's."""

import hashlib
import json
import struct

import pytest
import safetensors.torch
import torch

from antipasto.tensor_bytes import CHUNK, memory_of, safetensors_bytes, tensor_checksums

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_file_is_byte_for_byte_the_one_that_safetensors_writes(dtype):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "matrix": torch.randn(3, 5, generator=generator).mul(100).to(dtype),
        "scalar": torch.tensor(7.5).to(dtype),
        "empty": torch.zeros(0, 4, dtype=dtype),
    }
    written = safetensors_bytes(tensors, {"format": "antipasto-1"})
    assert written == safetensors.torch.save(tensors, {"format": "antipasto-1"})
    assert safetensors_bytes(tensors) == safetensors.torch.save(tensors)
    for name, tensor in safetensors.torch.load(written).items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, tensors[name])


def test_the_same_tensors_and_metadata_give_the_same_bytes_each_time():
    """safetensors writes metadata in a random order: of eight entries, two files would agree once in 40,320 times."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "é": torch.ones(5, dtype=torch.uint8)}
    metadata = {f"key {i}": f'"ü" {i}' for i in range(8)}
    written = safetensors_bytes(tensors, metadata)
    assert {safetensors_bytes(tensors, metadata) for _ in range(4)} == {written}
    assert len(written) == len(safetensors.torch.save(tensors, metadata))
    loaded = safetensors.deserialize(written)
    assert {name: bytes(entry["data"]) for name, entry in loaded} == {
        name: bytes(memory_of(tensor)) for name, tensor in tensors.items()
    }
    (length,) = struct.unpack("<Q", written[:8])
    assert json.loads(written[8 : 8 + length])["__metadata__"] == metadata


def test_a_transposed_tensor_and_a_parameter_are_written_in_their_own_order():
    matrix = torch.arange(6.0).reshape(2, 3)
    loaded = safetensors.torch.load(safetensors_bytes({"a": matrix.T, "b": torch.nn.Parameter(matrix)}))
    assert torch.equal(loaded["a"], matrix.T)
    assert torch.equal(loaded["b"], matrix)


def test_memory_of_a_tensor_is_its_bytes_and_is_not_copied():
    tensor = torch.arange(4, dtype=torch.int16)
    memory = memory_of(tensor)
    assert bytes(memory) == bytes([0, 0, 1, 0, 2, 0, 3, 0])
    assert hashlib.sha256(memory).digest() == hashlib.sha256(bytes(memory)).digest()
    tensor[0] = 258
    assert bytes(memory)[:2] == bytes([2, 1])
    assert bytes(memory_of(torch.zeros(0))) == b""
    with pytest.raises(AssertionError, match="another order"):
        memory_of(torch.zeros(2, 3).T)


EVERY = [*DTYPES, torch.int32, torch.float8_e4m3fn, torch.complex64, torch.complex128]
LAYOUTS = {
    "whole": lambda t: t,
    "odd offset": lambda t: t[1:],
    "odd length": lambda t: t[:-1],
    "transposed": lambda t: t.view(37, -1).T,
    "with gaps": lambda t: t.view(37, -1)[:, ::3],
    "of one row": lambda t: t.view(1, 37, -1)[:, :, 1:],
    "permuted": lambda t: t.view(37, 2, -1).permute(2, 0, 1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", EVERY, ids=str)
def test_a_checksum_notices_any_one_changed_value_in_every_dtype_and_layout(dtype, layout):
    bits = torch.randint(0, 2 if dtype == torch.bool else 256, (37 * 34 * dtype.itemsize,), dtype=torch.uint8)
    tensor = LAYOUTS[layout](bits.view(dtype))
    before = tensor_checksums({"a": tensor})["a"]
    assert tensor_checksums({"a": tensor.clone()})["a"] == before or layout != "whole"
    for place in [0, 1, 5, tensor.numel() // 2, tensor.numel() - 2, tensor.numel() - 1]:
        index = torch.unravel_index(torch.tensor(place), tensor.shape)
        kept = tensor[index].clone()
        memory = tensor[index].view(1).view(torch.uint8)
        memory[0] ^= 1
        assert tensor_checksums({"a": tensor})["a"] != before
        memory[-1] ^= 1
        assert tensor_checksums({"a": tensor})["a"] != before or dtype.itemsize == 1
        tensor[index] = kept
        assert tensor_checksums({"a": tensor})["a"] == before


def test_checksums_of_what_has_no_values_are_zero():
    tensors = {"meta": torch.empty(3, device="meta"), "empty": torch.empty(0, 4), "zero": torch.zeros(9)}
    assert tensor_checksums(tensors) == {"meta": 0, "empty": 0, "zero": 0}
    assert tensor_checksums({}) == {}


def test_a_tensor_with_gaps_is_read_in_parts_and_each_value_counts():
    wide = torch.zeros(4, 3 * CHUNK, dtype=torch.int32)[:, ::2]
    for place in (0, CHUNK - 1, CHUNK, wide.shape[1] - 1):
        wide[3, place] = 1
        assert tensor_checksums({"a": wide})["a"] != 0
        wide[3, place] = 0


@pytest.mark.parametrize("layout", ["whole", "odd offset", "with gaps"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_checksum_takes_little_memory_beside_the_weights(dtype, layout):
    """Of 17 million values; their sum as 64-bit integers took a copy of 133 MB."""
    tensor = LAYOUTS[layout](torch.zeros(37 * 450_000, dtype=dtype))
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        assert tensor_checksums({"a": tensor}) == {"a": 0}
    assert 0 < max(event.self_cpu_memory_usage for event in profile.events()) <= 8 * CHUNK
