"""Costs in words: one line from shapes, one of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..spec.config import BASE


def card(row: Mapping[str, Any]) -> str:
    """Costs for people: a line from shapes, and below it one of what was measured, where it was."""
    name = row["variant"] + (f" r={row['rank']}" if row["rank"] else "")
    macs, base = row["added_macs_per_token"], row["base_macs_per_token"]
    lines = [
        f"{name:24} {row['trainable_params']:>13,} parameters  {macs / 1e6:8.2f}M MACs/token "
        f"(+{100 * macs / base:.1f} %)  {row['adapter_bytes'] / 1e6:8.2f} MB on disk  {row['targets']} layers"
    ]
    if row.get("base_forward_ms") is not None:
        lines.append(f"    {measured_line(row)}")
    return "\n".join(lines)


def measured_line(row: Mapping[str, Any]) -> str:
    """What was measured of an adapter, in one line."""
    if row["base_forward_ms"] is None:
        return "not measured"
    told = [f"{k} {ms} ms" for k in ("forward", "backward") if (ms := against_base(row, f"{k}_ms"))]
    told += [f"peak {row['peak_bytes'] / 1e6:,.0f} MB"] if row["peak_bytes"] is not None else []
    told += [f"keeps {mb} MB for backward"] if (mb := against_base(row, "saved_bytes", 1e-6)) else []
    if row["attach_cold_s"] is not None:
        told += [f"attach {row['attach_cold_s']:.2f} s cold, {row['attach_warm_s']:.2f} s warm"]
    told += [f"merge {row['merge_s']:.3f} s"] if row["merge_s"] is not None else []
    told += [f"generates {against_base(row, 'generated_tokens_per_s')} tokens/s"]
    return f"{row['priced_tokens']:,} tokens: {', '.join(told)}"


def against_base(row: Mapping[str, Any], name: str, scale: float = 1) -> str:
    """A measured cost with its ratio to the base's, as in `41.2 (1.21x)`; empty where the variant has no such cost."""
    base = row[f"base_{name}"]
    own = base if row["variant"] == BASE else row[name]
    if own is None:
        return ""
    if row["variant"] == BASE:
        return f"{own * scale:,.1f}"
    return f"{own * scale:,.1f} ({own / base:.2f}x)" if base else f"{own * scale:,.1f}"
