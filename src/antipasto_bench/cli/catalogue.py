"""`variants` and `presets`: what there is to run."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .output import echo, print_json


def variants(
    names: Annotated[list[str] | None, typer.Argument(metavar="VARIANT", help="Only these.")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="OUTxIN", help="Count parameters on a layer of this shape.")
    ] = None,
    preset: options.Preset = None,
    as_json: options.AsJson = False,
) -> None:
    """The catalogue: what each variant computes, trains, needs and costs, and what it is benchmarked with.

    Counts are for one target of each shape, with the benchmark's settings; 1024x3584 is Qwen3.5-0.8B's down_proj.
    """
    from ..spec.catalogue import entries, parse_shape

    shapes = [parse_shape(text) for text in shape or ["1024x3584"]]
    for entry in entries(names or None, shapes, preset):
        if as_json:
            print_json(entry.to_json())
        else:
            echo(entry.card() + "\n")


def presets(as_json: options.AsJson = False) -> None:
    """List the presets: what model, data and protocol each stands for."""
    from ..spec.catalogue import preset_line
    from ..spec.compose import compose
    from ..spec.config import BASE
    from ..spec.presets import load_preset, preset_names

    for name in preset_names():
        values = load_preset(name)
        if as_json:
            print_json({"preset": name} | values)
        else:
            echo(preset_line(name, compose(BASE, {}, name)))
