"""Costs in words and as JSON: what is counted on shapes, and what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..spec.config import BASE
from ..store.quantities import QUANTITIES, Phrase, Quantity, quantity

if TYPE_CHECKING:  # what is counted on shapes needs no row, and so does not wait for polars
    from ..store.record import Costs


class Shapes(Protocol):
    """What `cost` counts on the shapes of a model: the fields that quantities name as `shapes.field`, and these."""

    @property
    def variant(self) -> str: ...

    @property
    def rank(self) -> int | Literal["full"] | None: ...

    def model_dump(self) -> dict[str, Any]: ...


def card(shapes: Shapes, costs: Costs | None = None, quantities: Sequence[Quantity] = QUANTITIES) -> str:
    """Costs for people: a line from shapes, and below it one of what was measured, where it was."""
    name = shapes.variant + (f" r={shapes.rank}" if shapes.rank else "")
    lines = [f"{name:24} {'  '.join(_in_order(_counted(shapes, quantities)))}"]
    if costs is not None and costs.measured:
        lines.append(f"    {measured_line(costs, untuned=shapes.variant == BASE, quantities=quantities)}")
    return "\n".join(lines)


def measured_line(costs: Costs, *, untuned: bool, quantities: Sequence[Quantity] = QUANTITIES) -> str:
    """What was measured of an adapter, in one line.

    Args:
        costs: of an adapter, or of the base model.
        untuned: whether they are of the base model; its own measurements are then shown.
    """
    if not costs.measured:
        return "not measured"
    texts = []
    for entry in quantities:
        if entry.phrase is not None and (value := _value(costs, entry.own(untuned))) is not None:
            text = entry.text(value, entry.phrase, None if untuned else _value(costs, entry.base))
            texts.append((entry.phrase, entry.phrase.words.format(text)))
    tokens = "" if costs.priced_tokens is None else f"{quantity('priced_tokens').text(costs.priced_tokens)} tokens: "
    return f"{tokens}{', '.join(_in_order(texts))}"


def cost_json(
    shapes: Shapes, costs: Costs | None = None, quantities: Sequence[Quantity] = QUANTITIES
) -> dict[str, Any]:
    """What `cost --json` prints of an adapter.

    Args:
        costs: what was measured; None where nothing was.
    """
    listed = [entry for entry in quantities if entry.cost_json]
    counted = {name for entry in listed if entry.shapes for name in (entry.shapes.field, entry.shapes.base)}
    measured = {name for entry in listed for name in (entry.field, entry.base)} - counted
    values = {
        name: value
        for name, value in shapes.model_dump().items()
        if name in ("variant", "rank", "model") or name in counted
    }
    if costs is not None:
        values |= {name: getattr(costs, name) for name in type(costs).model_fields if name in measured}
    return values


def _counted(shapes: Shapes, quantities: Iterable[Quantity]) -> list[tuple[Phrase, str]]:
    texts = []
    for entry in quantities:
        if entry.shapes is not None and entry.shapes.phrase is not None:
            value: int | None = getattr(shapes, entry.shapes.field)
            if value is None:  # nothing tells
                continue
            text = entry.shapes.phrase.words.format(entry.text(value, entry.shapes.phrase))
            if entry.shapes.base is not None:
                text += f" (+{100 * value / getattr(shapes, entry.shapes.base):.1f} %)"
            texts.append((entry.shapes.phrase, text))
    return texts


def _in_order(texts: Iterable[tuple[Phrase, str]]) -> list[str]:
    return [text for _, text in sorted(texts, key=lambda pair: not pair[0].first)]


def _value(costs: Costs, field: str | None) -> float | None:
    value: float | None = None if field is None else getattr(costs, field)
    return value
