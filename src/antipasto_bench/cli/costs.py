"""`cost`, `measure`, `speed` and `cache`: what adapters cost, measured now or again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.collection import no_collection
from ..core.errors import UserError
from ..store.folders import Store
from . import options
from .output import cache_text, echo, forgetting_text, print_json, print_notice


def cost(
    words: Annotated[list[str], typer.Argument(metavar=options.SWEEP_WORDS, help="What to price.")],
    preset: options.Preset = None,
    meta: Annotated[bool, typer.Option("--meta", help="From shapes alone; no weight is loaded.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """What adapters cost: parameters, added MACs a token and bytes from shapes; times and memory as measured here.

    Example: `antipasto-bench cost lora,antipasto rank=32,256 --meta --preset qwen3.5-0.8b`, or without `--meta` on the
    machine in question: `antipasto-bench cost lora,antipasto --preset nano`
    """
    with no_collection():
        from ..report.cost_text import card, cost_json
        from ..run.shape_costs import cost_of_shapes
        from ..spec.compose import expand
        from ..spec.grammar import parse_words
        from ..spec.keys import refuse_keys_without_effect
        from ..spec.methods.external import load_variants

        variants, axes = parse_words(words)
        if not variants:
            raise UserError("name at least one variant, such as: antipasto-bench cost lora,antipasto --meta")
        load_variants(variants)
        runs = expand(variants, axes, preset)
        refuse_keys_without_effect([*dict.fromkeys(run.variant for run in runs)] if "peft" in axes else variants, axes)
        shapes = [cost_of_shapes(run) for run in runs]  # all of them first: a mistake costs no measurement
    for run, counted in zip(runs, shapes, strict=True):
        costs = None
        if not meta:
            from ..run.measured_costs import measure_alone

            measured = measure_alone(run).costs
            costs = measured if measured.measured else None
        if as_json:
            print_json(cost_json(counted, costs))
        else:
            echo(card(counted, costs))


def measure(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar=options.RUN_ID,
            help=f"{options.RUN_HELP} And where files were moved, model=PATH, data.train=PATH, ...",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every finished run whose files are here.")] = False,
    costs: Annotated[bool, typer.Option("--costs", help="Times and memory instead; on a quiet machine.")] = False,
    general: Annotated[str | None, typer.Option(help="Texts to measure forgetting on [the preset's].")] = None,
    trust_remote_code: options.TrustRemoteCode = False,
    results: options.Results = None,
    outputs: options.Outputs = None,
) -> None:
    """Measure finished runs again, without training: what they forgot of general text and their excerpts, or costs.

    Example: `antipasto-bench measure --all --general texts.jsonl`, or `antipasto-bench measure --all --costs`
    """
    from ..core.signals import handle_signals
    from ..report.cost_text import measured_line
    from ..run.local_files import read_places
    from ..run.remeasure import remeasure, remeasure_costs
    from ..store.run_names import run_ids_named
    from ..store.table import read_records

    if costs and general is not None:
        raise UserError("--costs measures times and memory alone; leave out --general, or make two commands of it")
    store = Store.of(results, outputs)
    chosen = run_ids_named([word for word in runs or [] if "=" not in word], store.table)  # no run id has one
    paths = read_places([word for word in runs or [] if "=" in word])
    if every:
        finished = [record.run_id for record in read_records(store.table) if record.status == "ok"]
        here = [run_id for run_id in finished if costs or store.run_folder(run_id).path.exists()]
        if not here:
            raise UserError(_nothing_to_measure(store, len(finished)))
        chosen += here
    if not chosen:
        raise UserError("name a run, or give --all; `antipasto-bench list` shows what there is")
    if costs:
        with handle_signals():  # the process that measures ends with this one
            for record in remeasure_costs(chosen, store, paths, trust_remote_code):
                echo(f"{record.run_id}: {measured_line(record, untuned=record.untuned)}")
        return
    for run_id in chosen:
        record = remeasure(run_id, store, general, paths, trust_remote_code)
        echo(f"{run_id}: {forgetting_text(record.general_loss_base, record.general_loss)}")


def _nothing_to_measure(store: Store, finished: int) -> str:
    """Why `--all` names no run, and what to do."""
    if not finished:
        return f"{store.table} holds no finished run; make one with: antipasto-bench run lora"
    return (
        f"none of the {finished} finished runs in {store.table} has its files in {store.outputs}; name their folder "
        "with --outputs DIR, or give --all --costs, which needs none of them"
    )


def speed(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of suites on a real model: data.train=PATH."),
    ] = None,
    suite: Annotated[list[str] | None, typer.Option(help="Only this one; may be given more than once.")] = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Measure nothing; only write the page anew.")] = False,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page to write [docs/speed.md of a checkout].")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that holds speed/ [results of a checkout].")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.5, metavar="N", help="Of --suite gpu: begin nothing more after so many minutes."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure speed and memory against the base and against peft, on a quiet machine; bounds are ratios.

    Figures go to results/speed/HARDWARE, and from there into docs/speed.md; outside a checkout only where --results
    and --page say. Exit code 1 where a claim does not hold.

    Example: `antipasto-bench speed --suite step`
    """
    from ..core.signals import handle_signals
    from ..speed.page import write_page
    from ..speed.places import choose_places
    from ..speed.running import run_suites

    if page_only and words:
        raise UserError(f"speed: --page-only measures nothing, so {words[0]} has no use; leave one of them out")
    places = choose_places(results, page, page_only)
    with handle_signals():  # a suite's process ends with this one
        all_hold = page_only or run_suites(suite, places.results, as_json, minutes, words or ())
    if places.page is not None:
        write_page(places.results, places.page)
        print_notice(str(places.page))
    if not all_hold:
        raise typer.Exit(1)


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show the singular value decompositions that are kept on disk, or clear them.

    ANTIPASTO_CACHE names their folder (`off` keeps none), ANTIPASTO_CACHE_GB their bound.
    """
    from antipasto.svd_cache import cache_entries, cache_folder, cache_limit, clear_cache

    folder, limit = cache_folder(), cache_limit()
    sizes = [path.stat().st_size for path in cache_entries()]
    removed = clear_cache() if clear else 0
    if as_json:
        entries = {"entries": len(sizes) - removed, "bytes": 0 if clear else sum(sizes)}
        print_json({"folder": folder and str(folder), "limit_bytes": limit, "removed": removed} | entries)
    else:
        echo(cache_text(folder, sizes, limit, cleared=clear))
