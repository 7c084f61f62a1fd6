"""Which directions of a weight are frozen: W ~ U diag(S) P, with U (d_out, r), S (r,), P (r, d_in).

| basis | rule |
|---|---|
| svd   | the r largest singular values of W |
| wanda | the r largest S_i * pool(|x . v_i|) over calibration tokens, in ascending order of index |
| asvd  | c = E[x^2] + eps a channel;  U, S, Q = SVD(W diag(sqrt(c))),  P = Q_r diag(1 / sqrt(c)) |
| corda | C = E[x x^T], eigenvalues clamped at 0, plus eps;  U, S, Q = SVD(W C^1/2),  P = Q_r C^-1/2 |

asvd and corda are oblique: the rows of P are not orthonormal. They follow ASVD (Yuan et al., 2312.05821) and CorDA
(Yang et al., 2406.05223) in weighing inputs by their activations before the SVD, and take the square root of the second
moments as the weight. With it corda's U diag(S) P is the rank-r matrix nearest to W in the mean square of its outputs,
E|W x - U diag(S) P x|^2, and asvd is the same where C is diagonal.

A basis is two functions: what to gather while calibration data flow by, and the choice itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from .config import AdapterError
from .moments import ChannelPower, Covariance, DirectionPower, OutputCovariance
from .svd_cache import svd
from .variant import Calibrator, at_least_float32, wide


class FrozenBasis(NamedTuple):
    U: Float[Tensor, "d_out r"]
    S: Float[Tensor, " r"]
    P: Float[Tensor, "r d_in"]


class Basis(Protocol):
    """A rule that chooses r directions of W; `gathered` is what its calibrator made of the data, if it has one."""

    def calibrator(self, cfg: Any) -> Callable[[Float[Tensor, "d_out d_in"]], Calibrator] | None: ...

    def choose(self, W: Float[Tensor, "d_out d_in"], r: int, cfg: Any, gathered: Any) -> FrozenBasis: ...


class SVD:
    """Top r of SVD(W), in at least float32."""

    def calibrator(self, cfg: Any) -> None:
        return None

    def choose(self, W: Tensor, r: int, cfg: Any, gathered: None) -> FrozenBasis:
        U, S, Vh = svd(W)
        return FrozenBasis(U[:, :r], S[:r], Vh[:r])


class Wanda:
    """Weight magnitude times activation magnitude, per singular direction.

    The score of Sun et al., 2306.11695, |W_ij| * norm(x_j), carried from channels to singular directions; and
    used to choose what to adapt, not what to prune.
    """

    def calibrator(self, cfg: Any) -> Callable[[Tensor], DirectionPower]:
        return lambda W: DirectionPower(svd(W), cfg.act_pool)

    def choose(self, W: Tensor, r: int, cfg: Any, gathered: DirectionPower) -> FrozenBasis:
        U, S, Vh = gathered.svd
        kept = wanda_score(S, gathered.pooled()).topk(r).indices.sort().values
        return FrozenBasis(U[:, kept], S[kept], Vh[kept])


def wanda_score(magnitude: Float[Tensor, " k"], activation: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """How much each direction matters: the size of its weight times the pooled size of what it reads."""
    return magnitude * activation


class ASVD:
    """Singular directions of W with each input channel scaled by the size of its activations."""

    def calibrator(self, cfg: Any) -> Callable[[Tensor], ChannelPower]:
        return lambda W: ChannelPower(W.shape[1], like=W)

    def choose(self, W: Tensor, r: int, cfg: Any, gathered: ChannelPower) -> FrozenBasis:
        root = (gathered.mean() + cfg.cov_eps).sqrt()  # (d_in,)
        U, S, Q = thin_svd(W.double() * root, r)
        return FrozenBasis(*(_widened(W, part) for part in (U, S, Q / root)))


class CorDA:
    """Singular directions of W among inputs of the covariance that calibration showed."""

    def calibrator(self, cfg: Any) -> Callable[[Tensor], Covariance]:
        return lambda W: OutputCovariance(W) if W.shape[0] <= W.shape[1] else Covariance(W)

    def choose(self, W: Tensor, r: int, cfg: Any, gathered: Covariance) -> FrozenBasis:
        C = gathered.mean()
        if isinstance(gathered, OutputCovariance):
            # With A = W C^1/2, A A^T = W C W^T gives U and S, and P = S^-1 U^T A C^-1/2 = S^-1 U^T W: no root is taken.
            W = at_least_float32(W)
            U, S = _leading(C + cfg.cov_eps * (W @ W.T), r)
            S = S.clamp(min=1e-6 * S[0] + 1e-30)  # a direction that W has not got reads nothing
            U, S = _widened(W, U), _widened(W, S)
            return FrozenBasis(U, S, U.T @ W / S[:, None])
        values, vectors = torch.linalg.eigh(C)
        root = (values.clamp(min=0) + cfg.cov_eps).sqrt()  # (d_in,)
        U, S, Q = thin_svd(W.double() @ (vectors * root), r)
        return FrozenBasis(*(_widened(W, part) for part in (U, S, Q @ (vectors / root).T)))


def thin_svd(A: Float[Tensor, "m n"], r: int) -> tuple[Float[Tensor, "m r"], Float[Tensor, " r"], Float[Tensor, "r n"]]:
    """The r leading singular triples of a float64 matrix, from the eigenvectors of its smaller Gram matrix.

    That squares the condition number. Of float64's sixteen digits more than seven are left, as many as a float32 SVD
    gives, where the smallest of them is above 3e-5 of the largest; else the SVD itself is taken.
    """
    if A.shape[0] > A.shape[1]:
        V, S, Ut = thin_svd(A.T, r)
        return Ut.T, S, V.T
    U, S = _leading(A @ A.T, r)
    if _blurred(S):
        U, S, Q = torch.linalg.svd(A, full_matrices=False)
        return U[:, :r], S[:r], Q[:r]
    return U, S, U.T @ A / S[:, None]


def _leading(G: Float[Tensor, "m m"], r: int) -> tuple[Float[Tensor, "m r"], Float[Tensor, " r"]]:
    """Of a Gram matrix A A^T: the leading left singular vectors of A, and its singular values."""
    values, vectors = torch.linalg.eigh(G)
    return vectors.flip(1)[:, :r], values.flip(0)[:r].clamp(min=0).sqrt()


def _blurred(S: Float[Tensor, " r"]) -> bool:
    """Whether the smallest is lost, or nearly so, in what the Gram matrix rounds off of the largest."""
    return bool(S[-1] <= 3e-5 * S[0])


def _widened(W: Tensor, computed: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """What was computed in float64, in W's dtype but at least float32."""
    return computed.to(wide(W.dtype))


BASES: dict[str, Basis] = {"svd": SVD(), "wanda": Wanda(), "asvd": ASVD(), "corda": CorDA()}


def determined(S: Float[Tensor, " r"]) -> bool:
    """Whether each direction is one that any SVD would find: no two singular values nearly equal, none nearly 0."""
    if S.is_meta or len(S) == 0:
        return True
    ordered = torch.cat([S.sort(descending=True).values, S.new_zeros(1)])
    return bool((ordered[:-1] - ordered[1:] > 1e-5 * ordered[0]).all())


def anchor_of(P: Float[Tensor, "r d_in"]) -> Float[Tensor, "r 2"]:
    """Of each direction, the place and the value of its largest entry: what tells its sign, and that it is the same."""
    place = P.abs().argmax(1)
    return torch.stack([place.float(), P.gather(1, place[:, None])[:, 0].float()], dim=1)


def align_signs(basis: FrozenBasis, anchor: Float[Tensor, "r 2"]) -> FrozenBasis:
    """Give each pair (U[:, i], P[i]) the sign it had where `anchor` was taken.

    Another LAPACK may return other signs; a trained rotation mixes directions, so it needs the old ones.

    Raises:
        AdapterError: the directions themselves differ: the base weight is not the one that was adapted, or
            its singular values are too close for this machine to find the same vectors again.
    """
    place, value = anchor[:, 0].long(), anchor[:, 1]
    now = basis.P.gather(1, place.clamp(max=basis.P.shape[1] - 1)[:, None])[:, 0].float()
    if ((now.abs() - value.abs()).abs() > 0.05 * value.abs()).any():
        raise AdapterError(
            "the frozen directions rebuilt from this base weight are not those that were trained; load onto the "
            "base model that the adapter was trained on, or save it with include_basis=True"
        )
    sign = torch.where(now * value < 0, -1.0, 1.0).to(basis.P)
    return FrozenBasis(basis.U * sign, basis.S, basis.P * sign[:, None])
