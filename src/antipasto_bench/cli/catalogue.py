"""`variants` and `presets`: what there is to run."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options
from .output import echo, print_json, print_notice


def variants(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="VARIANT", help="Only these, with details.", show_default=False)
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Of each: equation, counts, needs, settings.")] = False,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="OUTxIN", help="Count on a layer of this shape [down_proj of the preset's model]."),
    ] = None,
    preset: options.Preset = None,
    as_json: options.AsJson = False,
) -> None:
    """The variants, a line each; by name or with `--details` what each computes, trains, needs and costs.

    Ranks and learning rates are those of the preset in force. Counts are for one target of each shape.

    Example: `antipasto-bench variants antipasto`, or `antipasto-bench variants --preset qwen3.5-0.8b`
    """
    from ..core.text_table import terminal_width, text_table
    from ..spec.catalogue import entries, parse_shape, peft_lines, shape_of
    from ..spec.compose import DEFAULT_PRESET
    from ..spec.methods.external import refused

    shapes = [parse_shape(text) for text in shape or []] or [shape_of(preset)]
    chosen = entries(names or None, shapes, preset)
    if as_json:
        for entry in chosen:
            print_json(entry.to_json())
    elif names or details:
        for entry in chosen:
            echo(entry.card() + "\n")
    else:
        header = chosen[0].header()
        text, lines = ("variant", "what it is"), [entry.line() for entry in chosen]
        echo(text_table(header, lines, left=text, shrinking={"what it is": 0}, width=terminal_width()))
        if of_peft := peft_lines():
            header = ["variant", "through PEFT"]
            echo("\n" + text_table(header, of_peft, left=header, width=terminal_width()))
        echo(
            f"\nDefaults of preset {preset or DEFAULT_PRESET}. Details: antipasto-bench variants VARIANT, or --details"
        )
        for line in refused():
            print_notice(line)


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
