"""One optimizer step: the loss of a batch's completions, its gradient, AdamW over the adapter's parameters.

Nothing here waits for the device: what a step has to tell is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from antipasto import trainable_parameters

from .config import RunConfig
from .data import IGNORED
from .data_parallel import ALONE, Group


def completion_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Sum over the completion's tokens of -log p(token | all before it), in float32.

    Args:
        batch: as `collate` makes it, best on the CPU: where its labels stand is then known without waiting for a GPU.
    """
    device = next(model.parameters()).device
    scored = batch["labels"][:, 1:] != IGNORED  # by the position that predicts: (batch, longest - 1)
    # Logits over a large vocabulary are most of the memory: none are made before the first completion begins.
    kept = scored.shape[1] - int(scored.any(0).nonzero()[0])
    rows, columns = scored[:, -kept:].nonzero(as_tuple=True)
    labels = batch["labels"][:, -kept:][rows, columns]
    # Padding stands to the right, where no real token looks: without a mask for it attention is the plain causal one.
    ids = batch["input_ids"].to(device, non_blocking=True)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=kept + 1).logits[:, -kept - 1 : -1]
    # The model's last layer may be on another device than its first.
    rows, columns, labels = (t.to(logits.device, non_blocking=True) for t in (rows, columns, labels))
    return cross_entropy(logits[rows, columns].float(), labels, reduction="sum")


class Reading:
    """The loss and the gradient norm of a step, on their way from the device."""

    def __init__(self, loss: Tensor, norm: Tensor, asked: int | None) -> None:
        self.asked = asked  # the signal by which any process was asked to stop
        values = torch.stack((loss, norm.to(loss)))
        self._arrived: Any = None
        if values.device.type == "cuda":
            self._values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._values = values

    def read(self) -> tuple[float, float]:
        """Loss and norm, once that step is done; no later one is waited for."""
        if self._arrived is not None:
            self._arrived.synchronize()
        loss, norm = self._values.tolist()
        return loss, norm


class Optimisation:
    """The adapter's parameters, and AdamW over all of them."""

    def __init__(self, model: nn.Module, run: RunConfig, group: Group = ALONE) -> None:
        """
        Args:
            model: with an adapter attached.
            group: of processes that take each step together.
        """
        self.parameters = list(trainable_parameters(model).values())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=run.lr, weight_decay=run.weight_decay, fused=True)
        self._model = torch.compile(model, dynamic=True) if run.compile else model
        self._most = run.max_grad_norm
        self._group = group

    def step(self, micro_batches: Sequence[dict[str, Tensor]], lr: float, asked: int | None = None) -> Reading:
        """Step along the mean gradient over the completion tokens of some batches, clipped.

        Args:
            asked: the signal by which this process was asked to stop, if it was.
        """
        # Every completion token of the step weighs the same, in whichever micro-batch it stands.
        scored = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in micro_batches)
        device = self.parameters[0].device
        total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        problem = None
        try:
            for batch in map(self._group.share, micro_batches):
                if len(batch["labels"]) > 0:
                    loss = completion_loss(self._model, batch) / scored
                    total += loss.detach().to(device)
                    loss.backward()
        except RuntimeError as error:  # such as lack of memory: the other processes must not wait for this one
            problem = error
        total, asked = self._group.sum_gradients(self.parameters, total, problem, asked)
        norm = nn.utils.clip_grad_norm_(self.parameters, self._most)
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Reading(total, norm, asked)
