"""The training loss, and the loss of single tokens: -log p of the labelled tokens of a batch.

Nothing here waits for the device. (For packed rows transformers itself waits at each forward pass, to see where one
example ends.)
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, pad

from ..core.compat import one_sequence_a_row
from .examples import IGNORED
from .methods.registry import adapter_on
from .model_probes import at_positions, last_mlp, plain_head

LOGITS_BYTES = 2**27  # of a chunk, in float32; smaller ones spend more time on reading the matrix
COLUMNS, QUARTERS = 64, 4  # of the padding that leaves few shapes


@dataclass(frozen=True)
class LossInputs:
    """What the loss of a batch is computed of.

    Args:
        inputs: of the model, each (rows, width).
        positions: (labels,), of the tokens that predict: among all tokens of the batch, or among the `count` kept of
            each row.
        labels: (labels,), the tokens that are predicted; IGNORED bears no loss.
        count: tokens of each row, without its last, that have logits; None where logits are of `positions` alone.
    """

    inputs: dict[str, Tensor]
    positions: Tensor
    labels: Tensor
    count: int | None = None


def _multiple(count: int, unit: int) -> int:
    """The smallest multiple of `unit` that is no less than `count`."""
    return -(-count // unit) * unit


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
        self._most_columns: int | None = getattr(getattr(model, "config", None), "max_position_embeddings", None)

    def __call__(self, batch: dict[str, Tensor]) -> Tensor:
        """The sum over a batch's labelled tokens, in at least float32.

        Args:
            batch: as `collate` makes it, best on the CPU: where its labels stand is then known without waiting for a
                GPU.
        """
        return self.compute(self.to_device(self.prepare(batch)))

    @torch.no_grad()
    def of_tokens(self, batch: dict[str, Tensor]) -> Tensor:
        """-log p of each labelled token (labelled tokens,), row after row, in at least float32; it has no gradient."""
        return self.compute(self.to_device(self.prepare(batch)), each_token=True)

    def prepare(self, batch: dict[str, Tensor]) -> LossInputs:
        """What the loss of a batch is computed of, where the batch is."""
        scored = batch["labels"][:, 1:] != IGNORED  # by the position that predicts: (batch, longest - 1)
        # Padding stands to the right, where no real token looks: without a mask attention is the plain causal one, and
        # of rows that hold several examples the positions tell where one ends.
        inputs: dict[str, Tensor] = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
        if self._head is not None:
            positions = pad(scored, (0, 1)).flatten().nonzero()[:, 0]
            return LossInputs(inputs, positions, batch["labels"].flatten()[positions + 1])
        # No logits are made before the first labelled token.
        count = scored.shape[1] - int(scored.any(0).nonzero()[0])
        positions = scored[:, -count:].flatten().nonzero()[:, 0]
        return LossInputs(inputs, positions, batch["labels"][:, -count:].flatten()[positions], count)

    def prepare_in_few_shapes(self, batch: dict[str, Tensor]) -> LossInputs:
        """As `prepare`, of the same loss and gradient, with padding that leaves few shapes among all batches.

        Rows are padded to a multiple of COLUMNS tokens, or to as many as the model has positions; labels to a multiple
        of a quarter of all tokens. A label that is padding is IGNORED, at the last token of the first row, which
        predicts nothing.
        """
        rows, longest = batch["labels"].shape
        wanted = _multiple(longest, COLUMNS)
        columns = max(longest, min(wanted, self._most_columns or wanted)) - longest
        fill = {"input_ids": 0, "labels": IGNORED}
        wide = {name: pad(batch[name], (0, columns), value=value) for name, value in fill.items()}
        prepared = self.prepare(wide)
        width = longest + columns
        if prepared.count is None:
            labels = len(prepared.labels)
            missing = min(rows * width, _multiple(labels, max(1, rows * width // QUARTERS))) - labels
            positions = pad(prepared.positions, (0, missing), value=width - 1)
            return LossInputs(prepared.inputs, positions, pad(prepared.labels, (0, missing), value=IGNORED))
        count = min(width - 1, _multiple(prepared.count, COLUMNS))
        return LossInputs(prepared.inputs, torch.arange(rows * count), wide["labels"][:, -count:].flatten(), count)

    def to_device(self, prepared: LossInputs) -> LossInputs:
        """Copies on the devices that they are needed on, on their way while the host goes on."""
        inputs = {name: _to_device(tensor, self._device) for name, tensor in prepared.inputs.items()}
        last = self._device if self._head is None else self._head.weight.device
        positions, labels = (_to_device(tensor, last) for tensor in (prepared.positions, prepared.labels))
        return LossInputs(inputs, positions, labels, prepared.count)

    def compute(self, prepared: LossInputs, each_token: bool = False) -> Tensor:
        """The sum of -log p over the labels, or each of them (labels,), in at least float32."""
        one_sequence = nullcontext() if "position_ids" in prepared.inputs else one_sequence_a_row()
        if prepared.count is None:
            assert self._head is not None
            with at_positions(self._last, prepared.positions), one_sequence:
                hidden = self._model(**prepared.inputs, use_cache=False).last_hidden_state.flatten(0, 1)
            of_hidden = _token_losses_from_hidden if each_token else _loss_from_hidden
            return of_hidden(hidden, self._head, prepared.positions, prepared.labels)
        count = prepared.count
        with one_sequence:
            logits = self._model(**prepared.inputs, use_cache=False, logits_to_keep=count + 1).logits
        positions, labels = (_to_device(t, logits.device) for t in (prepared.positions, prepared.labels))
        chosen = logits[:, -count - 1 : -1].flatten(0, 1)[positions]
        how = "none" if each_token else "sum"
        return cross_entropy(_at_least_float32(chosen), labels, reduction=how, ignore_index=IGNORED)


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
