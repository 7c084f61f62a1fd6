"""Claims about files written without numpy: they are what safetensors itself writes, and the memory is the tensor's."""

import hashlib

import pytest
import safetensors.torch
import torch

from antipasto.tensor_bytes import memory_of, safetensors_bytes

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
