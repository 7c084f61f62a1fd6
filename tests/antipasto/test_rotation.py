"""Claims about the block rotations: orthogonal, bounded, exactly I at zero, and the Cayley transform of their input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antipasto.rotation import rotation_minus_identity


def rotations(theta: torch.Tensor, block_size: int, max_angle: float = 0.5) -> torch.Tensor:
    return torch.eye(block_size, dtype=theta.dtype) + rotation_minus_identity(theta, block_size, max_angle)


def by_solve(theta: torch.Tensor, block_size: int, max_angle: float) -> torch.Tensor:
    """The published construction, step by step: fill, antisymmetrise, saturate, solve."""
    rows, cols = torch.triu_indices(block_size, block_size, offset=1)
    A = theta.new_zeros(len(theta), block_size, block_size)
    A[:, rows, cols] = theta
    A = (A - A.mT) / 2
    a = 2 * math.tan(max_angle / 2)
    X = a * torch.tanh(A / a) / 2
    eye = torch.eye(block_size, dtype=theta.dtype)
    return torch.linalg.solve(eye - X, eye + X)


@settings(max_examples=60)
@given(
    block_size=st.sampled_from([2, 3, 4, 5, 8]),
    scale=st.sampled_from([1e-6, 0.1, 1.0, 30.0]),
    max_angle=st.floats(0.05, 3.0),
    seed=st.integers(0, 1000),
)
def test_rotation_is_orthogonal_and_is_the_cayley_transform(block_size, scale, max_angle, seed):
    generator = torch.Generator().manual_seed(seed)
    theta = scale * torch.randn(5, block_size * (block_size - 1) // 2, dtype=torch.float64, generator=generator)
    R = rotations(theta, block_size, max_angle)
    eye = torch.eye(block_size, dtype=torch.float64)
    assert (R @ R.mT - eye).abs().max() < 1e-12
    assert (torch.linalg.det(R) - 1).abs().max() < 1e-11
    assert (R - by_solve(theta, block_size, max_angle)).abs().max() < 1e-12


@pytest.mark.parametrize("block_size", [2, 3, 4, 8])
def test_negated_angles_are_the_inverse_rotation(block_size):
    """So code that turns V by V R, and reads R^T h, trains the same family as ours, which reads R h."""
    theta = torch.randn(5, block_size * (block_size - 1) // 2, dtype=torch.float64)
    R, inverse = rotations(theta, block_size), rotations(-theta, block_size)
    assert (inverse - R.mT).abs().max() < 1e-14
    assert (inverse - R).abs().max() > 1e-2


@pytest.mark.parametrize("block_size", [2, 3, 4, 8])
def test_rotation_of_zero_is_exactly_the_identity(block_size):
    theta = torch.zeros(3, block_size * (block_size - 1) // 2)
    assert torch.equal(rotation_minus_identity(theta, block_size, 0.5), torch.zeros(3, block_size, block_size))


def test_two_by_two_rotation_approaches_its_bound_and_stays_below():
    R = rotations(torch.tensor([[1e6]], dtype=torch.float64), 2, max_angle=0.5)
    assert math.acos(R[0, 0, 0]) == pytest.approx(0.5, abs=1e-9)
    R = rotations(torch.tensor([[0.3]], dtype=torch.float64), 2, max_angle=0.5)
    assert 0 < math.acos(R[0, 0, 0]) < 0.5


@pytest.mark.parametrize("block_size", [2, 3, 4, 8])
def test_closed_form_gradient_is_that_of_the_solve(block_size):
    theta = 2 * torch.randn(2, block_size * (block_size - 1) // 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, block_size, block_size, dtype=torch.float64)
    (ours,) = torch.autograd.grad((rotations(theta, block_size) * weights).sum(), theta)
    (solved,) = torch.autograd.grad((by_solve(theta, block_size, 0.5) * weights).sum(), theta)
    assert (ours - solved).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block_size", [2, 4, 8])
def test_parameters_of_a_model_that_was_cast_still_rotate(block_size, dtype):
    theta = torch.randn(3, block_size * (block_size - 1) // 2, generator=torch.Generator().manual_seed(0))
    theta = theta.to(dtype)
    short, long = (rotation_minus_identity(t, block_size, 0.5) for t in (theta, theta.double()))
    assert short.dtype == dtype
    assert (short.double() - long).norm() <= 2e-2 * long.norm()
