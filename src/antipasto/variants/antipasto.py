"""AntiPaSTO: tune the singular values of W and turn its singular directions within small blocks.

    core(h) = R_U^T ((S + delta) * (R_V h))         in the frozen basis W ~ U diag(S) P (frozen_basis.py)

R_V and R_U are block-diagonal Cayley rotations (rotation.py). `rotate_basis`: V trains R_V alone, U trains R_U
alone, both trains the two independently, none trains delta alone.

Clark, 2601.07473. Identity at the start: the rotations are exactly I and delta ~ 4e-4 + N(0, 4e-4), a small
bias that breaks the symmetry of sign, so y' is close to y and not equal to it.
Trained parameters a target: r + (r / bs) bs (bs - 1) / 2, the second term once for V or U, twice for both.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..batched import batched
from ..block_product import add_block_product, times_blocks
from ..configs.frozen_basis import AntiPaSTOConfig
from ..frozen_basis import FrozenBasisVariant
from ..rotation import rotation_minus_identity
from ..variant import Layer, ParamSpec, normal, register


@register
class AntiPaSTO(FrozenBasisVariant[AntiPaSTOConfig]):
    config = AntiPaSTOConfig

    def core_specs(self, r: int, cfg: AntiPaSTOConfig) -> dict[str, ParamSpec]:
        triangle = (r // cfg.block_size, cfg.block_size * (cfg.block_size - 1) // 2)
        specs = {"lora_delta_s": ParamSpec((r,), normal(4e-4, 4e-4))}
        if cfg.rotate_basis != "none":
            specs["lora_rot_T"] = ParamSpec(triangle)
        if cfg.rotate_basis == "both":
            specs["lora_rot_T_u"] = ParamSpec(triangle)
        return specs

    def forward(self, layer: Layer, cfg: AntiPaSTOConfig, x: Tensor, y: Tensor) -> Tensor:
        if cfg.rotate_basis == "none":
            return super().forward(layer, cfg, x, y)
        x = x.to(y.dtype)  # under autocast it may be wider
        return add_block_product(y, x, layer.lora_Vh, self.blocks(layer, cfg, y.dtype), layer.lora_U)

    def change(self, layer: Layer, cfg: AntiPaSTOConfig, h: Tensor) -> Tensor:
        if cfg.rotate_basis == "none":
            return h * layer.lora_delta_s.to(h.dtype)
        return times_blocks(h.reshape(-1, h.shape[-1]), self.blocks(layer, cfg, h.dtype)).reshape(h.shape)

    def blocks(self, layer: Layer, cfg: AntiPaSTOConfig, dtype: torch.dtype) -> Float[Tensor, "n bs bs"]:
        """`core_blocks` of this layer, computed in one batch with those of all other targets."""
        angles = ("lora_rot_T", "lora_rot_T_u") if cfg.rotate_basis == "both" else ("lora_rot_T",)
        return batched(layer, (*angles, "lora_delta_s", "lora_S"), partial(self.core_blocks, cfg), dtype)

    def core_blocks(self, cfg: AntiPaSTOConfig, *tensors: Tensor) -> Float[Tensor, "n bs bs"]:
        """R_U^T diag(S + delta) R_V - diag(S) of each block, from its angles, delta and S.

        Written with Q = R - I, for V  diag(delta) + diag(S + delta) Q_V, so that no terms of size S are subtracted.
        """
        *thetas, delta, S = tensors
        delta, S = (values.view(-1, cfg.block_size).to(S.dtype) for values in (delta, S))
        Q = [rotation_minus_identity(theta.to(S.dtype), cfg.block_size, cfg.max_rotation_angle) for theta in thetas]
        change, scaled = delta.diag_embed(), (S + delta)  # (n, bs, bs), (n, bs)
        if cfg.rotate_basis in ("V", "both"):
            change = change + scaled[:, :, None] * Q[0]  # (S + delta) R_V - S
        if cfg.rotate_basis in ("U", "both"):
            change = change + Q[-1].mT @ (change + S.diag_embed())  # R_U^T (change + S) - S
        return change

    def core_macs(self, r: int, cfg: AntiPaSTOConfig) -> int:
        return 0 if cfg.rotate_basis == "none" else r * cfg.block_size
