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
