"""Which directions of a weight are frozen: W ~ U diag(S) P, with U (d_out, r), S (r,), P (r, d_in).

| basis | rule |
|---|---|
| svd   | the r largest singular values of W |
| wanda | the r largest S_i * pool(|x . v_i|) over calibration tokens, in ascending order of index |
| asvd  | c = E[x^2] + eps a channel;  U, S, Q = SVD(W diag(sqrt(c))),  P = Q_r diag(1 / sqrt(c)) |
| corda | C = E[x x^T], eigenvalues clamped at 0, plus eps;  U, S, Q = SVD(W C^1/2),  P = Q_r C^-1/2 |

asvd and corda are oblique: the rows of P are not orthonormal. Like ASVD (Yuan et al., 2312.05821) and CorDA
(Yang et al., 2406.05223) they weight the inputs by their activations before the SVD. The weights here are the square
roots of the second moments. With them corda's U diag(S) P is the rank-r matrix nearest to W in the mean square of its
outputs, E|W x - U diag(S) P x|^2, and asvd is the same where C is diagonal.

A basis is two functions: one makes the calibrator of a layer, the other chooses the directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from .config import AdapterError
from .configs.frozen_basis import ActPool, BasisName
from .decompositions import eigh, uncached_svd
from .moments import ChannelPower, Covariance, DirectionPower, OutputCovariance
from .svd_cache import svd
from .variant import Calibrator, accumulation_dtype


class FrozenBasis(NamedTuple):
    U: Float[Tensor, "d_out r"]
    S: Float[Tensor, " r"]
    P: Float[Tensor, "r d_in"]


class BasisSettings(Protocol):
    """The fields of a FrozenBasisConfig that a basis reads."""

    @property
    def act_pool(self) -> ActPool: ...

    @property
    def cov_eps(self) -> float: ...


class Basis(Protocol):
    """A rule that chooses r directions of W; `gathered` is the layer's calibrator after the data, None without one."""

    def calibrator(self, cfg: BasisSettings) -> Callable[[Float[Tensor, "d_out d_in"]], Calibrator] | None: ...

    def choose(self, W: Float[Tensor, "d_out d_in"], r: int, cfg: BasisSettings, gathered: Any) -> FrozenBasis: ...


class SVD:
    """Top r of SVD(W), in at least float32."""

    def calibrator(self, cfg: BasisSettings) -> None:
        return None

    def choose(self, W: Tensor, r: int, cfg: BasisSettings, gathered: None) -> FrozenBasis:
        U, S, Vh = svd(W)
        return FrozenBasis(U[:, :r], S[:r], Vh[:r])


class Wanda:
    """Weight magnitude times activation magnitude, per singular direction.

    The score |W_ij| * norm(x_j) of Sun et al., 2306.11695, with singular directions in place of input channels. It
    chooses what is adapted, not what is pruned.
    """

    def calibrator(self, cfg: BasisSettings) -> Callable[[Tensor], DirectionPower]:
        return lambda W: DirectionPower(svd(W), cfg.act_pool)

    def choose(self, W: Tensor, r: int, cfg: BasisSettings, gathered: DirectionPower) -> FrozenBasis:
        U, S, Vh = gathered.svd_factors
        chosen = wanda_score(S, gathered.pooled()).topk(r).indices.sort().values
        return FrozenBasis(U[:, chosen], S[chosen], Vh[chosen])


def wanda_score(magnitude: Float[Tensor, " k"], activation: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The score of each direction: its singular value times the pooled size of its activations."""
    return magnitude * activation


class ASVD:
    """Singular directions of W with each input channel scaled by the size of its activations."""

    def calibrator(self, cfg: BasisSettings) -> Callable[[Tensor], ChannelPower]:
        return lambda W: ChannelPower(W.shape[1], like=W)

    def choose(self, W: Tensor, r: int, cfg: BasisSettings, gathered: ChannelPower) -> FrozenBasis:
        root = (gathered.mean() + cfg.cov_eps).sqrt()  # (d_in,)
        U, S, Q = thin_svd(W.double() * root, r)
        return FrozenBasis(*(_rounded_for(W, part) for part in (U, S, Q / root)))


class CorDA:
    """Singular directions of W among inputs of the covariance that calibration showed."""

    def calibrator(self, cfg: BasisSettings) -> Callable[[Tensor], Covariance]:
        return lambda W: OutputCovariance(W) if W.shape[0] <= W.shape[1] else Covariance(W)

    def choose(self, W: Tensor, r: int, cfg: BasisSettings, gathered: Covariance) -> FrozenBasis:
        C = gathered.mean()
        if isinstance(gathered, OutputCovariance):
            # With A = W C^1/2, A A^T = W C W^T gives U and S, and P = S^-1 U^T A C^-1/2 = S^-1 U^T W: without C^1/2.
            exact = W.double()
            U, S = _left_singular_pairs(C + cfg.cov_eps * (exact @ exact.T), r)
            S = S.clamp(min=1e-6 * S[0] + 1e-30)  # where W has fewer than r directions, P is 0
            return FrozenBasis(*(_rounded_for(W, part) for part in (U, S, U.T @ exact / S[:, None])))
        values, vectors = eigh(C)
        root = (values.clamp(min=0) + cfg.cov_eps).sqrt()  # (d_in,)
        U, S, Q = thin_svd(W.double() @ (vectors * root), r)
        return FrozenBasis(*(_rounded_for(W, part) for part in (U, S, Q @ (vectors / root).T)))


def thin_svd(A: Float[Tensor, "m n"], r: int) -> tuple[Float[Tensor, "m r"], Float[Tensor, " r"], Float[Tensor, "r n"]]:
    """The r leading singular triples of a float64 matrix, from the eigenvectors of its smaller Gram matrix.

    The Gram matrix squares the condition number. Where the smallest of the r singular values is above 3e-5 of the
    largest, more than seven of float64's sixteen digits are right, as many as in a float32 SVD. Elsewhere the SVD of A
    itself is taken.
    """
    if A.shape[0] > A.shape[1]:
        V, S, Ut = thin_svd(A.T, r)
        return Ut.T, S, V.T
    U, S = _left_singular_pairs(A @ A.T, r)
    if S[-1] <= 3e-5 * S[0]:
        U, S, Q = uncached_svd(A)
        return U[:, :r], S[:r], Q[:r]
    return U, S, U.T @ A / S[:, None]


def _left_singular_pairs(gram: Float[Tensor, "m m"], r: int) -> tuple[Float[Tensor, "m r"], Float[Tensor, " r"]]:
    """The r leading left singular vectors of A and their singular values, from its Gram matrix A A^T."""
    values, vectors = eigh(gram)
    return vectors.flip(1)[:, :r], values.flip(0)[:r].clamp(min=0).sqrt()


def _rounded_for(W: Tensor, exact: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """A float64 result in the accumulation dtype of W."""
    return exact.to(accumulation_dtype(W.dtype))


BASES: dict[BasisName, Basis] = {"svd": SVD(), "wanda": Wanda(), "asvd": ASVD(), "corda": CorDA()}


def directions_are_unique(S: Float[Tensor, " r"]) -> bool:
    """Whether every SVD gives the same directions, up to signs: no two singular values nearly equal, none nearly 0."""
    if S.is_meta or len(S) == 0:
        return True
    ordered = torch.cat([S.sort(descending=True).values, S.new_zeros(1)])
    return bool((ordered[:-1] - ordered[1:] > 1e-5 * ordered[0]).all())


def sign_anchor(P: Float[Tensor, "r d_in"]) -> Float[Tensor, "r 2"]:
    """Index and value of the largest entry of each direction: they identify the direction and fix its sign."""
    if P.is_meta:  # its shape alone; to compute anything on this device imports torch's compiler, which takes seconds
        return torch.empty(len(P), 2, device="meta")
    index = P.abs().argmax(1)
    return torch.stack([index.float(), P.gather(1, index[:, None])[:, 0].float()], dim=1)


def align_signs(basis: FrozenBasis, anchor: Float[Tensor, "r 2"]) -> FrozenBasis:
    """Give each pair (U[:, i], P[i]) the sign that it had when `anchor` was computed.

    Another LAPACK may return other signs. A trained rotation mixes directions, so it needs the signs of its training.

    Raises:
        AdapterError: the directions themselves differ: the base weight is not the one that was adapted, or
            its singular values are so close that this machine's SVD returns other vectors.
    """
    index, value = anchor[:, 0].long(), anchor[:, 1]
    current = basis.P.gather(1, index.clamp(max=basis.P.shape[1] - 1)[:, None])[:, 0].float()
    if ((current.abs() - value.abs()).abs() > 0.05 * value.abs()).any():
        raise AdapterError(
            "the frozen directions rebuilt from this base weight are not those that were trained; load onto the "
            "base model that the adapter was trained on, or save it with include_basis=True"
        )
    sign = torch.where(current * value < 0, -1.0, 1.0).to(basis.P)
    return FrozenBasis(basis.U * sign, basis.S, basis.P * sign[:, None])
