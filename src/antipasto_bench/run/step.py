"""One optimizer step: the loss of a batch's labelled tokens, its gradient, AdamW over the adapter's parameters.

Nothing here waits for the device: a step's metrics are read later. (For packed rows transformers itself waits at each
step, to see where one example ends.)
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, pad

from ..core.compat import one_sequence_a_row
from ..core.errors import out_of_memory
from ..spec.config import RunConfig
from .examples import IGNORED
from .methods.registry import adapter_on, require_adapter
from .model_probes import at_positions, last_mlp, plain_head
from .process_group import ALONE, ProcessGroup

LOGITS_BYTES = 2**27  # of a chunk, in float32; smaller ones spend more time on reading the matrix


class CompletionLoss:
    """The training loss: -log p(token | all before it), summed over the labelled tokens.

    Where a model's logits are its last hidden states times a matrix and nothing else, they are computed for labelled
    tokens alone, for a large vocabulary in chunks that are not saved: they would be most of a step's memory. The MLP of
    the last block is then computed for labelled tokens alone, too. Whether a model allows it is tried on the model.
    """

    def __init__(self, model: Any, compiled: bool = False) -> None:
        self._device = next(model.parameters()).device  # of its first layer; its last may be on another
        adapter = adapter_on(model)
        whole_model = compiled or (adapter is not None and adapter.model is not adapter.base)
        # A compiler cannot look into the loss by chunks, and what stands before the model is no part of its body.
        self._head = None if whole_model else plain_head(model)
        whole = model if self._head is None else model.base_model
        self._model = torch.compile(whole, dynamic=True) if compiled else whole
        # An untrained adapter that mixes tokens adds nothing, so that trying it would tell nothing.
        mixed = adapter is not None and adapter.mixes_tokens
        self._last = None if self._head is None or mixed else last_mlp(model)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """The sum over a batch's labelled tokens, in at least float32.

        Args:
            batch: as `collate` makes it, best on the CPU: where its labels stand is then known without waiting for a
                GPU.
        """
        return self._loss(batch, each_token=False)

    @torch.no_grad()
    def of_tokens(self, batch: dict[str, Tensor]) -> Tensor:
        """-log p of each labelled token (labelled tokens,), row after row, in at least float32; it has no gradient."""
        return self._loss(batch, each_token=True)

    def _loss(self, batch: dict[str, Tensor], each_token: bool) -> Tensor:
        scored = batch["labels"][:, 1:] != IGNORED  # by the position that predicts: (batch, longest - 1)
        # Padding stands to the right, where no real token looks: without a mask attention is the plain causal one, and
        # of rows that hold several examples the positions tell where one ends.
        names = [name for name in ("input_ids", "position_ids") if name in batch]
        inputs = {name: _to_device(batch[name], self._device) for name in names}
        one_sequence = nullcontext() if "position_ids" in batch else one_sequence_a_row()
        if self._head is not None:
            positions = pad(scored, (0, 1)).flatten().nonzero()[:, 0]
            labels = batch["labels"].flatten()[positions + 1]
            positions, labels = (_to_device(t, self._head.weight.device) for t in (positions, labels))
            with at_positions(self._last, positions), one_sequence:
                hidden = self._model(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
            of_hidden = _token_losses_from_hidden if each_token else _loss_from_hidden
            return of_hidden(hidden, self._head, positions, labels)
        # No logits are made before the first labelled token.
        count = scored.shape[1] - int(scored.any(0).nonzero()[0])
        positions = scored[:, -count:].flatten().nonzero()[:, 0]
        labels = batch["labels"][:, -count:].flatten()[positions]
        with one_sequence:
            logits = self._model(**inputs, use_cache=False, logits_to_keep=count + 1).logits[:, -count - 1 : -1]
        positions, labels = (_to_device(t, logits.device) for t in (positions, labels))
        how = "none" if each_token else "sum"
        return cross_entropy(_at_least_float32(logits.flatten(0, 1)[positions]), labels, reduction=how)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without waiting for it; a copy that nothing waits for needs page-locked memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _loss_from_hidden(hidden: Tensor, head: nn.Linear, positions: Tensor, labels: Tensor) -> Tensor:
    """The loss of hidden states (tokens, d) at `positions` (n,), where the next tokens are `labels` (n,)."""
    rows = hidden.index_select(0, positions)
    chunk = max(1, LOGITS_BYTES // (4 * head.out_features))
    if len(rows) <= chunk or not hasattr(functional, "linear_cross_entropy"):  # before torch 2.13, in more memory
        return cross_entropy(head(rows).float(), labels, reduction="sum")
    # The sum itself would be rounded to the dtype of the hidden states; of single tokens the rounding averages out.
    how = "sum" if hidden.dtype == torch.float32 else "none"
    by_chunks = nn.LinearCrossEntropyOptions(batch_chunk_size=chunk, chunking_method=None)
    return functional.linear_cross_entropy(rows, head.weight, labels, reduction=how, options=by_chunks).float().sum()


def _token_losses_from_hidden(hidden: Tensor, head: nn.Linear, positions: Tensor, labels: Tensor) -> Tensor:
    """-log p of each token, with the arguments of `_loss_from_hidden`. Without autograd no chunk of logits is saved."""
    chunk = max(1, LOGITS_BYTES // (4 * head.out_features))
    rows = hidden.index_select(0, positions)
    losses = [
        cross_entropy(_at_least_float32(head(part)), targets, reduction="none")
        for part, targets in zip(rows.split(chunk), labels.split(chunk), strict=True)
    ]
    return torch.cat(losses)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


class StepMetrics:
    """The loss and the gradient norm of a step, copied from the device while it works on."""

    def __init__(self, loss: Tensor, norm: Tensor, signum: int | None) -> None:
        self.signum = signum  # the signal by which any process was asked to stop
        values = torch.stack((loss, norm.to(loss)))
        self._copied: Any = None
        if values.device.type == "cuda":
            self._values = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            # The values may be on another GPU than the current one, whose stream would be done too early.
            self._copied.record(torch.cuda.current_stream(values.device))
        else:
            self._values = values

    def read(self) -> tuple[float, float]:
        """Loss and norm, once that step is done; no later one is waited for."""
        if self._copied is not None:
            self._copied.synchronize()
        loss, norm = self._values.tolist()
        return loss, norm


class AdapterOptimizer:
    """The adapter's parameters, and AdamW over all of them: at one learning rate, or B at `lr_ratio` times that of A.

    The latter is LoRA+ (Hayou et al., 2402.12354).

    Attributes:
        rows_at_once: of a micro-batch, in one forward and backward pass, since memory did not hold more; None while
            it holds whole micro-batches.
        taken: steps so far; set by who goes on from a checkpoint.
    """

    def __init__(self, model: nn.Module, run: RunConfig, group: ProcessGroup = ALONE) -> None:
        """
        Args:
            model: with an adapter attached.
            group: of processes that take each step together.
        """
        self._adapter = require_adapter(model)
        self.optimizer = self._adapter.optimizer(run)
        self.parameters = list(self._adapter.trainable_parameters().values())
        self._rate_ratios = [group["lr"] / run.lr for group in self.optimizer.param_groups]
        self._means = run.loss_mean
        self._loss = CompletionLoss(model, run.compile)
        self._max_norm = run.max_grad_norm
        self._group = group
        self.rows_at_once: int | None = None
        self.taken = 0

    def step(self, micro_batches: Sequence[dict[str, Tensor]], lr: float, signum: int | None = None) -> StepMetrics:
        """Step along the gradient of the mean loss of some batches, clipped.

        By `loss_mean` it is the mean over all labelled tokens, or the mean of the batches' own means.

        A step that memory does not hold is computed again in halves of its micro-batches, down to single rows; this
        one and all later steps are then computed so. Loss and gradient are the same up to the order of their sums.

        Args:
            lr: of this step; a group's is its `lr_ratio` times that.
            signum: of the signal that asked this process to stop, if any did.
        """
        scored = [int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in micro_batches]
        # By tokens each weighs the same, in whichever micro-batch it stands.
        by_tokens, count = self._means == "tokens", len(micro_batches)
        divisors = [sum(scored) if by_tokens else labelled * count for labelled in scored]
        shards = [self._group.shard(batch) for batch in micro_batches]
        # No other process has to take smaller pieces because this one does: the gradients are summed after it.
        while (computed := self._compute_gradients(shards, divisors)) is None:
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()  # of the graph, whose nodes refer to each other
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        total, problem = computed
        total, signum = self._group.sum_gradients(self.parameters, total, problem, signum)
        norm = nn.utils.clip_grad_norm_(self.parameters, self._max_norm)
        for settings, ratio in zip(self.optimizer.param_groups, self._rate_ratios, strict=True):
            settings["lr"] = lr * ratio
        self.optimizer.step()
        self.taken += 1
        self._adapter.after_step(self.taken)
        self.optimizer.zero_grad(set_to_none=True)
        return StepMetrics(total, norm, signum)

    def _with_penalty(self, loss: Tensor) -> Tensor:
        """A step's loss with the adapter's own penalty, which is no part of the loss that is logged."""
        penalty = self._adapter.penalty()
        return loss if penalty is None else loss + penalty.to(loss) / self._group.size

    def _compute_gradients(
        self, micro_batches: Sequence[dict[str, Tensor]], divisors: Sequence[int]
    ) -> tuple[Tensor, Exception | None] | None:
        """Add the gradient of the mean loss to the parameters: each batch's sum by its divisor, added up.

        Returns:
            the mean loss, and the error that ended the computation, if any did; None where it lacked memory and is to
            be done again, with the smaller `rows_at_once` that is set then.
        """
        device, rows = self.parameters[0].device, 0
        total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        try:
            penalised = False
            for batch, divisor in zip(micro_batches, divisors, strict=True):
                for piece in _pieces(batch, self.rows_at_once):
                    rows = len(piece["labels"])
                    loss = self._loss(piece) / divisor
                    total += loss.detach().to(device)
                    if not penalised:  # behind a forward pass, of whose results a penalty can be
                        loss, penalised = self._with_penalty(loss), True
                    loss.backward()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or rows <= 1:
                return total, error  # the other processes must not wait for this one
        else:
            return total, None
        self.rows_at_once = rows // 2
        warnings.warn(
            f"out of memory in training {rows} rows at once; going on with {self.rows_at_once}, and the same step",
            stacklevel=3,
        )
        return None


def _pieces(batch: dict[str, Tensor], rows: int | None) -> Iterator[dict[str, Tensor]]:
    """A batch in pieces of so many rows, in one where None; nothing of a batch without rows."""
    total = len(batch["labels"])
    for start in range(0, total, rows or max(1, total)):
        yield {name: values[start : start + (rows or total)] for name, values in batch.items()}
