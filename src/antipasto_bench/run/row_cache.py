"""The keys, values and states of the answers under way, of which rows leave and to which rows come.

A layer of plain attention keeps its keys and values in a buffer with room: a token is written into it, where
transformers' own layer copies everything to append it; a row that leaves is overwritten by the last one; columns
that are padding in every row are passed over. All rows end in the same column, with padding to the left.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)
from transformers.generation import GenerationMixin

ROOM = 64  # columns that a buffer is longer than what it holds


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types here
    """Keys and values (rows, heads, columns, size) as a part of larger buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[Tensor] = []
        self._rows = self._start = self._end = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append one token of every row."""
        if self._end == self._buffers[0].shape[2]:
            self._lay_out(self._rows, self._end - self._start)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self._rows, :, self._end] = states[:, :, 0]
        self._end += 1
        return self._show()

    def join(self, other: DynamicLayer, columns: int) -> None:
        """Append the rows of another layer, so that all have so many columns."""
        rows, own = self._rows, self._end - self._start
        more, theirs = len(other.keys), other.keys.shape[2]
        if not self._buffers:
            self.dtype, self.device, self.is_initialized = other.keys.dtype, other.keys.device, True
            self._buffers = [t.new_empty(0, t.shape[1], 0, t.shape[3]) for t in (other.keys, other.values)]
        if rows + more > len(self._buffers[0]) or columns > self._end:
            self._lay_out(rows + more, columns)
        self._start, self._rows = self._end - columns, rows + more
        for buffer, states in zip(self._buffers, (other.keys, other.values), strict=True):
            part = buffer[: self._rows, :, self._start : self._end]
            part[:rows, :, : columns - own] = 0  # what is masked counts nothing, but where it is not finite
            part[rows:, :, : columns - theirs] = 0
            part[rows:, :, columns - theirs :] = states
        self._show()

    def move(self, to: Tensor, source: Tensor, left: int) -> None:
        """Put rows in the places of others, and keep the first `left`."""
        for part in self._show() if len(to) else []:
            part[to] = part[source]
        self._rows = left
        self._show()

    def trim(self, columns: int) -> None:
        """Keep the last columns."""
        self._start = self._end - columns
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (buffer[: self._rows, :, self._start : self._end] for buffer in self._buffers)
        return self.keys, self.values

    def _lay_out(self, rows: int, columns: int) -> None:
        """New buffers of at least so many rows, in which what there is ends at the column `columns`."""
        own = self._end - self._start
        for place, buffer in enumerate(self._buffers):
            rows = max(rows, len(buffer))
            # What it holds beside these is written, or set to 0, before it is shown.
            larger = buffer.new_empty(rows, buffer.shape[1], columns + ROOM, buffer.shape[3])
            larger[: self._rows, :, columns - own : columns] = buffer[: self._rows, :, self._start : self._end]
            self._buffers[place] = larger
        self._start, self._end = columns - own, columns


class RowCache:
    """A model's cache, by rows: `cache` is what the model takes."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.cache = DynamicCache(config=config)
        self.cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in self.cache.layers]
        self.rows = self.columns = 0

    def new(self) -> DynamicCache:
        """An empty cache to read prompts into, whose rows can `join`."""
        return DynamicCache(config=self._config)

    def join(self, other: DynamicCache, rows: int, columns: int) -> None:
        """Append the rows of another cache of the same model.

        Args:
            rows: that the other cache has.
            columns: of the other cache, padding included.
        """
        together = max(self.columns, columns)
        for place, (own, new) in enumerate(zip(self.cache.layers, other.layers, strict=True)):
            if isinstance(own, RoomyLayer):
                if new.is_initialized:
                    own.join(new, together)
            elif self.rows == 0:
                self.cache.layers[place] = new
            elif isinstance(own, DynamicSlidingWindowLayer):
                own.keys = torch.cat([_in_window(layer.keys, own, together) for layer in (own, new)])
                own.values = torch.cat([_in_window(layer.values, own, together) for layer in (own, new)])
                own.cumulative_length = together
            elif isinstance(own, LinearAttentionLayer):
                for states, others in (
                    (own.conv_states, new.conv_states),
                    (own.recurrent_states, new.recurrent_states),
                ):
                    states.update({i: torch.cat([t, others[i]]) for i, t in states.items() if t is not None})
        self.rows, self.columns = self.rows + rows, together

    def grow(self) -> None:
        """Count the column that a pass of the model has appended."""
        self.columns += 1

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Take rows out.

        Returns:
            the former place of each row that stays, in the order in which they now are.
        """
        left = self.rows - len(gone)
        to = [row for row in gone if row < left]
        source = [row for row in range(left, self.rows) if row not in gone]
        for layer in self.cache.layers:
            self._move(layer, to, source, left)
        order = list(range(left))
        for place, row in zip(to, source, strict=True):
            order[place] = row
        self.rows = left
        return order

    def _move(self, layer: Any, to: list[int], source: list[int], left: int) -> None:
        if isinstance(layer, DummyLayer) or not _tensors_of(layer):
            return
        device = _tensors_of(layer)[0].device
        places, sources = (torch.tensor(rows, dtype=torch.long, device=device) for rows in (to, source))
        if isinstance(layer, RoomyLayer):
            layer.move(places, sources, left)
        elif isinstance(layer, DynamicSlidingWindowLayer):
            layer.keys, layer.values = (_moved(t, places, sources, left) for t in (layer.keys, layer.values))
        else:
            for states in (layer.conv_states, layer.recurrent_states):
                states.update({i: _moved(t, places, sources, left) for i, t in states.items() if t is not None})

    def trim(self, columns: int) -> None:
        """Keep the last columns: those before are padding in every row."""
        for layer in self.cache.layers if columns < self.columns else []:
            if isinstance(layer, RoomyLayer):
                if layer.is_initialized:
                    layer.trim(columns)
            elif isinstance(layer, DynamicSlidingWindowLayer):
                layer.keys, layer.values = (_in_window(t, layer, columns) for t in (layer.keys, layer.values))
                layer.cumulative_length = columns
        self.columns = min(columns, self.columns)


def rows_can_leave(model: Any) -> bool:
    """Whether rows of a model's cache can leave and join, and the model is called as plain causal models are."""
    parameters = inspect.signature(model.forward).parameters
    if not {"position_ids", "past_key_values", "attention_mask", "logits_to_keep"} <= set(parameters):
        return False
    if model.config.is_encoder_decoder:
        return False
    own_inputs = type(model).prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation
    if own_inputs or model.is_remote_code() or getattr(model, "_is_stateful", False):
        return False
    kinds = getattr(model.config.get_text_config(decoder=True), "layer_types", None) or ()
    if "chunked_attention" in kinds:  # whose chunks are counted from the first column, padding or not
        return False
    known = (DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, DummyLayer)
    return all(type(layer) in known for layer in DynamicCache(config=model.config).layers)


def _in_window(states: Tensor, layer: DynamicSlidingWindowLayer, columns: int) -> Tensor:
    """Keys or values (rows, heads, columns, size) of as many columns as a sliding window keeps of so many."""
    kept = min(columns, layer.sliding_window - 1)
    missing = kept - states.shape[2]
    return pad(states, (0, 0, missing, 0)) if missing > 0 else states[:, :, states.shape[2] - kept :]


def _moved(states: Tensor, to: Tensor, source: Tensor, left: int) -> Tensor:
    if len(to):
        states[to] = states[source]
    return states[:left]


def _tensors_of(layer: Any) -> list[Tensor]:
    if isinstance(layer, LinearAttentionLayer):
        held = [*layer.conv_states.values(), *layer.recurrent_states.values()]
    else:
        held = [layer.keys]
    return [tensor for tensor in held if tensor is not None]
