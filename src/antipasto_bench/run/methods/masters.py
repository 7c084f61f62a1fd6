"""AdamW over weights of 16 bits, without losing the updates that are smaller than their rounding.

    g is summed in float32;  master <- AdamW(master, g) in float32;  weight <- round(master)

A weight of bfloat16 has 8 significant bits: an update of less than 1/512 of it would be rounded away at every step, and
so would the sum of a thousand of them. https://arxiv.org/abs/1710.03740, section 3.1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.json_types import Json

MASTER = "master"  # of a parameter's state, beside AdamW's moments


class MasterAdamW(torch.optim.AdamW):
    """AdamW over a float32 copy of each parameter that has fewer bits; over the parameter itself where it has as many.

    Gradients of all parameters are summed, clipped and handed over in float32.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], lr: float, weight_decay: float) -> None:
        self._parameters = list(parameters)
        for parameter in self._parameters:
            parameter.grad_dtype = at_least_float32(parameter.dtype)
        self._masters = [
            p if p.dtype == at_least_float32(p.dtype) else p.detach().to(at_least_float32(p.dtype))
            for p in self._parameters
        ]
        super().__init__(self._masters, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for parameter, master in self._copied():
            master.grad = parameter.grad
        result = super().step(closure)
        for parameter, master in self._copied():
            master.grad = None
            parameter.copy_(master)
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self._parameters:
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def state_dict(self) -> Json:
        """AdamW's own, and each copy under `master` of its parameter's state."""
        state = super().state_dict()
        for index, (parameter, master) in enumerate(zip(self._parameters, self._masters, strict=True)):
            if master is not parameter:
                state["state"].setdefault(index, {})
                state["state"][index] = state["state"][index] | {MASTER: master}
        return state

    @torch.no_grad()
    def load_state_dict(self, state_dict: Json) -> None:
        """Take over a state, and round the parameters from its copies."""
        moments: dict[int, Json] = {}
        for index, values in state_dict["state"].items():
            own = dict(values)
            if MASTER in own:
                self._masters[index].copy_(own.pop(MASTER))
                self._parameters[index].copy_(self._masters[index])
            moments |= {index: own} if own else {}
        super().load_state_dict(state_dict | {"state": moments})

    def _copied(self) -> list[tuple[nn.Parameter, Tensor]]:
        return [(p, master) for p, master in zip(self._parameters, self._masters, strict=True) if master is not p]


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype that something is summed in."""
    return dtype if dtype.itemsize >= 4 else torch.float32
