"""The variants and presets as a user sees them: what each says of itself, counted on given shapes."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import antipasto

from ..core.errors import UserError
from ..core.files import read_regular
from ..core.json_types import Json
from ..core.paths import EMBEDDED, benchmark_dir, locate
from .compose import DEFAULT_PRESET, compose, variant_names
from .config import BASE, RunConfig
from .methods.external import Plugin, load_variants, plugins
from .methods.peft_types import PREFIX, REFUSED, TYPES, is_peft, type_of
from .methods.registry import method_of
from .presets import load_preset

SHAPE = (1024, 3584)  # of Qwen3.5-0.8B's down_proj, for a preset whose model's shapes are not here


@dataclass(frozen=True)
class ShapeCounts:
    """Counts for one target of a given shape."""

    trained_parameters: int
    added_macs: int  # multiply-accumulates a token

    def __str__(self) -> str:
        return f"{self.trained_parameters:,} parameters, {self.added_macs:,} MACs a token"


@dataclass(frozen=True)
class Entry:
    """One variant of the catalogue."""

    about: antipasto.Description
    settings: Mapping[str, object]  # the benchmark's
    counts: Mapping[str, ShapeCounts | str]  # by shape; in words why the variant does not fit it

    def to_json(self) -> Json:
        counts = {shape: asdict(c) if isinstance(c, ShapeCounts) else c for shape, c in self.counts.items()}
        return asdict(self.about) | {"settings": dict(self.settings), "counts": counts}

    def line(self) -> list[str]:
        """Cells of one line, in the order of `header`."""
        rank, lr = (str(self.settings.get(name, "")) for name in ("rank", "lr"))
        counts = [f"{c.trained_parameters:,}" if isinstance(c, ShapeCounts) else "-" for c in self.counts.values()]
        return [self.about.variant, rank, *counts, lr, self.about.summary]

    def header(self) -> list[str]:
        """Names of the cells of `line`."""
        return ["variant", "rank", *(f"params {shape}" for shape in self.counts), "lr", "what it is"]

    def card(self) -> str:
        """A few lines for people."""
        about = self.about
        lines = {
            "trains": about.parameters,
            "costs": "; ".join(f"{shape}: {counts}" for shape, counts in self.counts.items()),
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


@dataclass(frozen=True)
class PeftEntry(Entry):
    """A tuner type of PEFT, of which its settings alone are known."""

    def card(self) -> str:
        settings = "  ".join(f"{key}={value}" for key, value in self.settings.items())
        wrapped = textwrap.fill(f"    settings  {settings}", 110, break_long_words=False, subsequent_indent=" " * 14)
        return f"{self.about.variant}: {self.about.summary}\n{wrapped}\n    source    {self.about.source}"


def parse_shape(text: str) -> tuple[int, int]:
    """(d_out, d_in) from `1024x3584`.

    Raises:
        UserError: it is not of that form.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise UserError(f"--shape {text}: write d_out x d_in, such as --shape 1024x3584")
    return int(match[1]), int(match[2])


def shape_of(preset: str | None) -> tuple[int, int]:
    """(d_out, d_in) of down_proj in a preset's model; `SHAPE` where that model's config is not here.

    Raises:
        UserError: an unknown preset.
    """
    model = str(load_preset(preset or DEFAULT_PRESET).get("model", ""))
    folder = EMBEDDED.get(model) or locate(model)
    shipped = benchmark_dir() / "architectures" / f"{model.replace('/', '--')}.json"
    path = shipped if folder is None else folder / "config.json"
    try:
        values = json.loads(read_regular(path).decode())
        return int(values["hidden_size"]), int(values["intermediate_size"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # absent, or no description of such a model
        return SHAPE


def entries(names: list[str] | None, shapes: list[tuple[int, int]], preset: str | None) -> list[Entry]:
    """The catalogue, or some of it.

    Args:
        shapes: (d_out, d_in) of the targets to count on.
        preset: whose settings are shown; `DEFAULT_PRESET` where None.

    Raises:
        UserError: an unknown variant or preset.
    """
    known = [name for name in variant_names() if name != BASE]
    load_variants(names or [])
    methods = [method_of(name) for name in names or known]
    if any(not method.tuned for method in methods):
        raise UserError(f"{BASE} is the untuned model, which is no entry of the catalogue")
    own = [
        _peft_entry(method.variant, preset) if is_peft(method.variant) else _entry(method.variant, shapes, preset)
        for method in methods
    ]
    return own if names else own + [_unread(plugin, shapes) for plugin in plugins()]


def _unread(plugin: Plugin, shapes: list[tuple[int, int]]) -> Entry:
    """A variant of another package, by its name alone: no code of the package is run to list it."""
    summary = f"of {plugin.package}; antipasto-bench variants {plugin.name} asks it"
    about = antipasto.Description(plugin.name, summary, "", "", "", "", "", quantised=False, merges=False)
    return Entry(about, {}, {f"{d_out}x{d_in}": "not asked" for d_out, d_in in shapes})


def peft_lines() -> list[list[str]]:
    """Name and summary of each tuner type of PEFT that can be an arm; none where PEFT is not installed."""
    if find_spec("peft") is None:
        return []
    return [[PREFIX + kind, summary] for kind, summary in TYPES.items() if kind not in REFUSED]


def _peft_entry(name: str, preset: str | None) -> Entry:
    run = compose(name, {}, preset or DEFAULT_PRESET)
    about = antipasto.Description(
        variant=run.variant,
        summary=TYPES.get(type_of(run.variant), ""),
        equation="",
        source="PEFT, https://huggingface.co/docs/peft",
        identity="",
        parameters="",
        data="",
        quantised=False,
        merges=run.method.mergeable,
    )
    settings = {key: value for key, value in run.adapter.items() if value not in (None, {}, False)}
    return PeftEntry(about, settings | {"lr": f"{run.lr:g}"}, {})


def _entry(name: str, shapes: list[tuple[int, int]], preset: str | None) -> Entry:
    run = compose(name, {}, preset or DEFAULT_PRESET)
    counts = {f"{d_out}x{d_in}": _counts(run, d_out, d_in) for d_out, d_in in shapes}
    return Entry(run.method.describe(), _settings(run), counts)


def _settings(run: RunConfig) -> dict[str, object]:
    hidden = {*run.method.unused(run.adapter), "r", "layers", "exclude_names"}
    settings: dict[str, object] = {} if run.rank is None else {"rank": run.rank}
    settings |= {key: value for key, value in run.adapter.items() if key not in hidden and key != "target_names"}
    if "target_names" in run.adapter:
        settings["targets"] = ", ".join(run.adapter["target_names"])
    if run.trains:
        settings["lr"] = f"{run.lr:g}"
    return settings


def _counts(run: RunConfig, d_out: int, d_in: int) -> ShapeCounts | str:
    try:
        counts = run.method.counts(run.adapter, d_in, d_out)
    except antipasto.AdapterError as error:
        return f"does not fit ({error})"
    return counts if isinstance(counts, str) else ShapeCounts(*counts)


def preset_line(name: str, run: RunConfig) -> str:
    """What a preset stands for, in a line.

    Args:
        run: any run of the preset.
    """
    batch = run.batch_size * run.grad_accum
    return (
        f"{name:24}{run.model}, {run.data.train}, {', '.join(run.eval.tasks)}, {run.steps} steps x {batch}, {run.dtype}"
    )
