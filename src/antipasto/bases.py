"""Which directions of a weight are frozen: W ~ U diag(S) P, with U (d_out, r), S (r,), P (r, d_in).

| basis | rule |
|---|---|
| svd   | the r largest singular values of W |
| wanda | the r largest S_i * pool(|x . v_i|) over calibration tokens, in ascending order of index |

A basis is two functions: what to gather while calibration data flow by, and the choice itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .config import AdapterError
from .variant import Calibrator


class FrozenBasis(NamedTuple):
    U: Float[Tensor, "d_out r"]
    S: Float[Tensor, r]
    P: Float[Tensor, "r d_in"]


class SVD:
    """Top r of SVD(W), in at least float32."""

    needs_data = False

    def calibrator(self, W: Tensor, cfg: Any) -> None:
        return None

    def choose(self, W: Float[Tensor, "d_out d_in"], cfg: Any, gathered: Any) -> FrozenBasis:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        return FrozenBasis(U[:, : cfg.r], S[: cfg.r], Vh[: cfg.r])


class Projections:
    """Streams how strongly tokens excite each right singular vector: the sum of |x . v_i| or of its square."""

    def __init__(self, W: Float[Tensor, "d_out d_in"], pool: str) -> None:
        self.U, self.S, self.Vh = torch.linalg.svd(W, full_matrices=False)
        self.pool = pool
        self.sum = torch.zeros_like(self.S, dtype=torch.float64)
        self.tokens = 0

    def update(self, x: Float[Tensor, "tokens d_in"]) -> None:
        h = x.to(self.Vh.dtype) @ self.Vh.T  # (tokens, k)
        self.sum += (h.square() if self.pool == "rms" else h.abs()).sum(0)
        self.tokens += len(x)

    def pooled(self) -> Float[Tensor, k]:
        mean = self.sum / self.tokens
        return mean.sqrt() if self.pool == "rms" else mean


class Wanda:
    """Weight magnitude times activation magnitude, per singular direction.

    The score of Sun et al., 2306.11695, |W_ij| * norm(x_j), carried from channels to singular directions; and
    used to choose what to adapt, not what to prune.
    """

    needs_data = True

    def calibrator(self, W: Tensor, cfg: Any) -> Calibrator:
        return Projections(W, cfg.act_pool)

    def choose(self, W: Float[Tensor, "d_out d_in"], cfg: Any, gathered: Projections) -> FrozenBasis:
        kept = (gathered.S * gathered.pooled()).topk(cfg.r).indices.sort().values
        return FrozenBasis(gathered.U[:, kept], gathered.S[kept], gathered.Vh[kept])


BASES: dict[str, SVD | Wanda] = {"svd": SVD(), "wanda": Wanda()}


def align_signs(basis: FrozenBasis, probe: Float[Tensor, r]) -> FrozenBasis:
    """Give each pair (U[:, i], P[i]) the sign it had where `probe` was taken.

    Another LAPACK may return other signs; a trained rotation mixes directions, so it needs the old ones.

    Raises:
        AdapterError: the directions themselves differ: the base weight is not the one that was adapted, or
            its singular values are too close for this machine to find the same vectors again.
    """
    now = probe_of(basis.P)
    sign = torch.where(now * probe < 0, -1.0, 1.0).to(basis.P)
    if (now.abs() - probe.abs()).abs().max() > 1e-2 * probe.abs().max():
        raise AdapterError(
            "the frozen directions rebuilt from this base weight are not those that were trained; load onto the "
            "base model that the adapter was trained on, or save it with include_basis=True"
        )
    return FrozenBasis(basis.U * sign, basis.S, basis.P * sign[:, None])


def probe_of(P: Float[Tensor, "r d_in"]) -> Float[Tensor, r]:
    """What each direction reads from one fixed random input: r numbers that tell its sign and its place."""
    x = torch.randn(P.shape[1], generator=torch.Generator().manual_seed(0))
    return P.float() @ x.to(P.device)
