"""Decompositions that end in finite numbers: of weights and moments once, of trained columns at every forward pass.

A GPU's eigensolver may fail on a matrix that has a decomposition, by an error or by NaN. It is then computed again on
the CPU in float64. Weights that hold NaN or inf have none: `non_finite` finds them first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from .config import AdapterError

Key = TypeVar("Key")


class SVDFactors(NamedTuple):
    U: Float[Tensor, "m k"]
    S: Float[Tensor, " k"]
    Vh: Float[Tensor, "k n"]


def uncached_svd(A: Float[Tensor, "m n"]) -> SVDFactors:
    """The thin SVD, in A's dtype, which is at least float32.

    Raises:
        AdapterError: A has no finite decomposition.
    """
    return SVDFactors(*_retried("SVD", lambda A: tuple(torch.linalg.svd(A, full_matrices=False)), A))


def eigh(A: Float[Tensor, "n n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Eigenvalues in ascending order and eigenvectors (columns) of a symmetric matrix, in A's dtype.

    Raises:
        AdapterError: A has no finite decomposition.
    """
    values, vectors = _retried("eigendecomposition", lambda A: tuple(torch.linalg.eigh(A)), A)
    return values, vectors


def _retried(what: str, decompose: Callable[[Tensor], tuple[Tensor, ...]], A: Tensor) -> tuple[Tensor, ...]:
    """`decompose(A)`; where that fails, or is not finite, the same of A on the CPU in float64."""
    matrix = f"{what} of a {' x '.join(map(str, A.shape))} matrix"
    try:
        parts = decompose(A)
        if not non_finite(enumerate(parts)):
            return parts
        reason = "the result is not finite"
    except RuntimeError as error:  # LinAlgError is one, and so are the errors of cuSOLVER
        reason = str(error).partition("\n")[0]
    if non_finite([(0, A)]):
        raise AdapterError(f"no {matrix}: it holds NaN or inf")
    warnings.warn(f"the {matrix} failed on {A.device} ({reason}); computed on the CPU in float64", stacklevel=4)
    try:
        precise = decompose(A.cpu().double())
    except RuntimeError as error:
        raise AdapterError(f"the {matrix} failed on {A.device} and on the CPU: {error}") from error
    if non_finite(enumerate(precise)):
        raise AdapterError(f"the {matrix} is not finite, on {A.device} nor on the CPU")
    return tuple(part.to(A) for part in precise)


@torch.no_grad()
def non_finite(named: Iterable[tuple[Key, Tensor]]) -> list[Key]:
    """The names of the tensors that hold NaN or inf, in their order.

    Each tensor is read once, and no copy of it is made; there is one wait for a GPU, not one a tensor. Tensors of whole
    numbers, and those on the meta device, hold neither.
    """
    flags: dict[Key, Tensor] = {}
    for name, tensor in named:
        if tensor.is_floating_point() and not tensor.is_meta and tensor.numel():
            flags[name] = is_finite(tensor)
    return false_ones(flags)


def false_ones(flags: Mapping[Key, Tensor]) -> list[Key]:
    """The names of the flags, each a bool () of any device, that are False; those of one device are read together."""
    by_device: dict[torch.device, dict[Key, Tensor]] = {}
    for name, flag in flags.items():
        by_device.setdefault(flag.device, {})[name] = flag
    values: dict[Key, bool] = {}
    for group in by_device.values():
        values |= zip(group, torch.stack(list(group.values())).tolist(), strict=True)
    return [name for name in flags if not values[name]]


def is_finite(tensor: Float[Tensor, "*shape"]) -> Tensor:
    """Whether a tensor that is not empty holds neither NaN nor inf: a bool () on its device."""
    if tensor.element_size() == 1:  # float8, which has no order
        tensor = tensor.float()
    low, high = torch.aminmax(tensor)  # both are NaN where any entry is
    return torch.isfinite(low) & torch.isfinite(high)


def unit(v: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """v / |v| along a dimension; a vector of zeros stays one, and its gradient is 0."""
    return _scaled(v, v.norm(dim=dim, keepdim=True), torch.zeros((), dtype=v.dtype, device=v.device))


def _scaled(v: Tensor, length: Tensor, smallest: Tensor) -> Tensor:
    """v / length; 0, of gradient 0, where the length is not above `smallest`."""
    usable = length > smallest
    return torch.where(usable, v / torch.where(usable, length, 1), 0)


def orthonormal_columns(c: Float[Tensor, "r k"]) -> Float[Tensor, "r k"]:
    """The columns made orthonormal in their order, as a QR does it up to signs: Gram-Schmidt, each column twice.

    A column that depends on those before it, to about 100 roundings, becomes 0, and its gradient is 0. A QR puts a
    direction there that is in no column, and its gradient is NaN.
    """
    directions: list[Tensor] = []
    tolerance = 100 * torch.finfo(c.dtype).eps
    for column in c.unbind(1):
        rest = column
        if directions:
            Q = torch.stack(directions, 1)  # (r, j)
            for _ in range(2):  # a single pass leaves a part of Q's directions where the rest is small
                rest = rest - Q @ (Q.T @ rest)
        directions.append(_scaled(rest, rest.norm(), tolerance * column.detach().norm()))
    return torch.stack(directions, 1)
