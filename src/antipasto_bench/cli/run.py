"""`run`: one run."""

from __future__ import annotations

import typer

from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import command_line, print_notice, print_outcome


def run(
    variant: options.Variant,
    words: options.Words = None,
    preset: options.Preset = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Make one run: train, score, record.

    Example: `antipasto-bench run antipasto rotate_basis=V rank=64 --preset nano`; on four GPUs together
    `torchrun --nproc-per-node 4 -m antipasto_bench run antipasto --preset qwen3-0.6b`
    """
    from ..spec.compose import expand
    from ..spec.grammar import parse_words
    from ..spec.keys import refuse_keys_without_effect
    from ..spec.methods.external import load_variants
    from ..sweeps.distributed import execute_launched

    variants, axes = parse_words([variant, *(words or [])])
    load_variants(variants)
    runs = expand(variants, axes, preset)
    if not runs:
        raise UserError("name one variant, such as: antipasto-bench run lora")
    if len(runs) != 1:
        raise UserError(f"this names {len(runs)} runs; write `antipasto-bench sweep` to make them all")
    refuse_keys_without_effect([runs[0].variant], axes)
    code = execute_launched(
        runs[0],
        Store.of(results, outputs),
        force=force,
        print_outcome=lambda outcome: print_outcome(
            outcome, as_json, command_line(f"show {outcome.run_id.rpartition('__')[2]}", results=results)
        ),
        print_line=print_notice,
    )
    raise typer.Exit(code)
