"""The variants as a user sees them: what each says of itself, counted on given shapes at its benchmark settings."""

from __future__ import annotations

import re
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

import antipasto
from antipasto.config import did_you_mean

from ..core.errors import UserError
from .compose import compose, variant_names
from .config import BASE


@dataclass(frozen=True)
class Entry:
    """One variant of the catalogue."""

    about: antipasto.Description
    settings: dict[str, Any]  # the benchmark's
    counts: dict[str, dict[str, int] | str]  # by shape: trained parameters and added MACs, or why it does not fit

    def to_dict(self) -> dict[str, Any]:
        return asdict(self.about) | {"settings": self.settings, "counts": self.counts}

    def card(self) -> str:
        """A few lines for people."""
        about = self.about
        counts = "; ".join(
            f"{shape}: {found}"
            if isinstance(found, str)
            else f"{shape}: {found['trained_parameters']:,} parameters, {found['added_macs']:,} MACs a token"
            for shape, found in self.counts.items()
        )
        lines = {
            "trains": about.parameters,
            "costs": counts,
            "identity": about.identity,
            "data": about.data,
            "quantised": "yes" if about.quantised else "no, it changes W itself",
            "merges": "yes, into an unquantised base" if about.merges else "no, it is not a change of W",
            "settings": "  ".join(f"{key}={value}" for key, value in self.settings.items()),
            "source": about.source,
        }
        wrapped = [
            textwrap.fill(f"    {key:10}{value}", 110, break_long_words=False, subsequent_indent=" " * 14)
            for key, value in lines.items()
            if value
        ]
        equation = textwrap.indent(about.equation, " " * 8)
        return "\n".join([f"{about.variant}: {about.summary}", *([equation] if equation else []), *wrapped])


def shape_of(text: str) -> tuple[int, int]:
    """(d_out, d_in) from `1024x3584`.

    Raises:
        UserError: it is not of that form.
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise UserError(f"--shape {text}: write d_out x d_in, such as --shape 1024x3584")
    return int(found[1]), int(found[2])


def entries(names: list[str] | None, shapes: list[tuple[int, int]], preset: str | None) -> list[Entry]:
    """The catalogue, or some of it.

    Raises:
        UserError: an unknown variant or preset.
    """
    known = [name for name in variant_names() if name != BASE]
    for name in names or []:
        if name not in (*known, *antipasto.ALIASES):
            raise UserError(f"unknown variant {name!r}{did_you_mean(name, known)}")
    return [_entry(antipasto.resolve(name), shapes, preset) for name in names or known]


def _entry(name: str, shapes: list[tuple[int, int]], preset: str | None) -> Entry:
    run = compose(name, {}, preset or "qwen3.5-0.8b")
    cfg, inert = run.adapter_config, run.adapter_config.inert()
    settings: dict[str, Any] = {} if run.rank is None else {"rank": run.rank}
    settings |= {key: value for key, value in run.adapter.items() if key not in (*inert, "r", "layers")}
    settings["targets"] = ", ".join(settings.pop("target_names"))
    settings.pop("exclude_names")
    if run.trains:
        settings["lr"] = f"{run.lr:g}"
    counts: dict[str, dict[str, int] | str] = {}
    for d_out, d_in in shapes:
        try:
            antipasto.REGISTRY[name].check(d_in, d_out, cfg)
        except antipasto.AdapterError as error:
            counts[f"{d_out}x{d_in}"] = f"does not fit ({error})"
            continue
        counts[f"{d_out}x{d_in}"] = {
            "trained_parameters": antipasto.trained_parameters(cfg, d_in, d_out),
            "added_macs": antipasto.added_macs(cfg, d_in, d_out),
        }
    return Entry(antipasto.describe(name), settings, counts)
