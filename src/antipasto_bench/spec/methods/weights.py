"""The model's own weights as what is trained: all of some layers, or its norms, or its biases.

full       the weights and biases of the target layers; with targets=all, every parameter of the model
layernorm  weights and biases of every norm, as PEFT's LN tuning has them (https://arxiv.org/abs/2312.11420)
bitfit     every bias (https://arxiv.org/abs/2106.10199)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import antipasto
from antipasto.config import AdapterConfig, AdapterError

from ...core.json_types import Json
from .method import Method, Rank

FULL, LAYERNORM, BITFIT = "full", "layernorm", "bitfit"
WEIGHTS = (FULL, LAYERNORM, BITFIT)
EVERY = ("all",)  # in place of target names: every parameter of the model

_TARGETS = {"target_names": Sequence[str], "layers": Sequence[int] | None, "exclude_names": Sequence[str]}
_SUMMARIES = {
    FULL: "fine-tuning of the weights themselves",
    LAYERNORM: "fine-tuning of the norms alone",
    BITFIT: "fine-tuning of the biases alone",
}
_EQUATIONS = {
    FULL: "y = x (W + dW)^T + b + db          of each target; of every parameter with targets=all",
    LAYERNORM: "y = norm(x) * (w + dw) + b + db     of each norm",
    BITFIT: "y = x W^T + b + db                  of each layer that has a bias",
}
_SOURCES = {
    FULL: "AdamW over float32 copies of bfloat16 weights, as in https://arxiv.org/abs/1710.03740.",
    LAYERNORM: "Zhao et al., https://arxiv.org/abs/2312.11420.",
    BITFIT: "Ben Zaken et al., https://arxiv.org/abs/2106.10199.",
}
_COUNTS = {FULL: "d_in d_out, and d_out of a bias", LAYERNORM: "none: d of each norm", BITFIT: "d_out where it has one"}


class WeightsMethod(Method):
    """Fine-tuning of weights that the model has. Nothing is added to it, so there is nothing to merge either."""

    adds_parameters = False
    steps_alike = True

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def fields(self) -> Mapping[str, Any]:
        return _TARGETS if self.variant == FULL else {}

    def given(self, flat: Mapping[str, Any]) -> Json:
        values = super().given(flat)
        return {
            name: value if value is None or isinstance(value, list | tuple) else [value]
            for name, value in values.items()
        }

    def selection(self, adapter: Mapping[str, Any]) -> AdapterConfig | None:
        """Which layers, as the library's config names them; None for every parameter, and of the other two methods.

        Raises:
            AdapterError: a value is impossible.
        """
        if self.variant != FULL:
            return None
        if tuple(adapter.get("target_names", ())) != EVERY:
            return AdapterConfig(**adapter)
        for name in ("layers", "exclude_names"):
            if tuple(adapter.get(name) or ()) not in ((), AdapterConfig.exclude_names):
                raise AdapterError(f"targets=all is every parameter of the model; leave out {name}")
        return None

    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        if self.variant != FULL:
            return self.variant, {}
        selection = self.selection(values)
        if selection is None:
            return FULL, {"target_names": list(EVERY), "layers": None, "exclude_names": []}
        settings = selection.canonical().to_dict()
        return FULL, {name: settings[name] for name in _TARGETS}

    def calibrates(self, adapter: Mapping[str, Any]) -> bool:
        return False

    def rank(self, adapter: Mapping[str, Any]) -> Rank:
        return None

    def describe(self) -> antipasto.Description:
        return antipasto.Description(
            variant=self.variant,
            summary=_SUMMARIES[self.variant],
            equation=_EQUATIONS[self.variant],
            source=_SOURCES[self.variant],
            identity="exact, since nothing is added",
            parameters=_COUNTS[self.variant],
            data="none",
            quantised=self.variant != FULL,
            merges=True,
        )

    def counts(self, adapter: Mapping[str, Any], d_in: int, d_out: int) -> tuple[int, int] | str:
        return (d_in * d_out, 0) if self.variant == FULL else super().counts(adapter, d_in, d_out)
