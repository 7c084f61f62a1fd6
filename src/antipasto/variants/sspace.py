"""S-space steering: push a layer's output along one direction found from contrasting examples. Nothing is trained.

    x_S = (y - b) U / (sqrt(S) + eps)                           (..., r)  the output in singular coordinates
    d   = unit(mean x_S over the positive tokens - mean x_S over the negative tokens)
    y'  = y + (alpha cos(x_S, d) d * sqrt(S)) U^T               signed cosine

with U, S the top r of SVD(W). Since (y - b) U = x P^T diag(S), the means follow from the mean input alone.
Its calibration data are a `Contrast` of positive and negative batches.

After the singular-space steering of lora-lite (wassname, 2026), kin of activation addition (Turner et al.,
2308.10248). Identity at the start: exact at alpha = 0 only.
Trained parameters a target: 0.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import cosine_similarity, linear, normalize

from ..config import AdapterError
from ..configs.peers import SSpaceConfig
from ..moments import Mean
from ..svd_cache import svd
from ..variant import Layer, ParamSpec, Variant, bias_of, register

EPS = 1e-6


@register
class SSpace(Variant[SSpaceConfig]):
    config = SSpaceConfig
    mergeable = False
    contrastive = True

    def tokens_needed(self, d_in: int, d_out: int, cfg: SSpaceConfig) -> int:
        return 1

    def param_specs(self, d_in: int, d_out: int, cfg: SSpaceConfig) -> dict[str, ParamSpec]:
        r = cfg.rank(d_in, d_out)
        return {
            "lora_U": ParamSpec((d_out, r), trained=False),
            "lora_S": ParamSpec((r,), trained=False, full_precision=True),
            "lora_d": ParamSpec((r,), trained=False, full_precision=True),
        }

    def calibrator(self, cfg: SSpaceConfig) -> Callable[[Tensor], Mean]:
        return lambda W: Mean(W.shape[1], like=W)

    def init(self, layer: Layer, cfg: SSpaceConfig, W: Tensor, gathered: tuple[Mean, Mean]) -> None:
        r = len(layer.lora_S)
        U, S, Vh = svd(W)
        positive, negative = gathered
        contrast = (positive.mean() - negative.mean()) @ Vh[:r].double().T  # (r,)
        if not contrast.is_meta and not contrast.any():
            raise AdapterError("the two sides of the contrast have the same mean: there is no direction to push in")
        layer.lora_U.copy_(U[:, :r])
        layer.lora_S.copy_(S[:r])
        layer.lora_d.copy_(normalize(contrast * S[:r] / (S[:r].sqrt() + EPS), dim=0))

    def tensors_to_save(self, layer: Layer, cfg: SSpaceConfig) -> dict[str, Tensor]:
        return {"lora_U": layer.lora_U, "lora_S": layer.lora_S, "lora_d": layer.lora_d}

    def forward(self, layer: Layer, cfg: SSpaceConfig, x: Tensor, y: Tensor) -> Tensor:
        bias = bias_of(layer)
        plain = y if bias is None else y - bias.to(y.dtype)
        root = layer.lora_S.sqrt()
        x_S = linear(plain, layer.lora_U.T.to(y.dtype)).to(root.dtype) / (root + EPS)  # (..., r)
        cosine = cosine_similarity(x_S, layer.lora_d, dim=-1)[..., None]
        assert cfg.alpha is not None
        push = cfg.alpha * cosine * layer.lora_d * root
        return y + linear(push.to(y.dtype), layer.lora_U.to(y.dtype))

    def added_macs(self, d_in: int, d_out: int, cfg: SSpaceConfig) -> int:
        return 2 * cfg.rank(d_in, d_out) * d_out
