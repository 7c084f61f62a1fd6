"""A small project with evidence of every kind, and the readers of each of its files, for random faults."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from unittest import mock

import polars as pl
import torch
import typer
from faulted_work import digests, stop_in_scoring, stop_in_training, workspaces
from faults import Parts, Reader, Subject
from small_runs import make, small, store_in
from tiny_gguf import write_tiny_gguf

import antipasto
from antipasto.svd_cache import svd
from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.cli.comparison_output import comparison_json
from antipasto_bench.cli.results import list_runs, rebuild
from antipasto_bench.core.errors import Damaged
from antipasto_bench.report.html import page
from antipasto_bench.report.markdown import markdown
from antipasto_bench.run.export import load_adapted
from antipasto_bench.run.gguf import plain_folder
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.speed.page import render_page
from antipasto_bench.store import integrity
from antipasto_bench.store.folders import Store
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.items import Groups, items_digest
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import find, read_records

OLDER = Path(__file__).parent / "store/older_results"  # rows of the first scoring rules and an older schema
SHARES = {  # how often a file of each kind is drawn
    "table": 24, "items": 16, "excerpts": 8, "kinds": 4, "record": 10, "run items": 4, "run kinds": 4, "samples": 6,
    "log": 4, "config": 2, "adapter": 6, "checkpoint": 8, "workspace": 8, "answers": 6, "lease": 3, "SVD cache": 6,
    "GGUF cache": 1, "speed": 4,
}  # fmt: skip


def build(folder: Path) -> list[Subject]:
    """Make the evidence in an empty folder, silently; gives its files with their readers."""
    store = store_in(folder)
    with redirect_stderr(StringIO()):
        finished = [small("lora", rank=4), small("lora", rank=4, seed=1), small("hra", rank=4), small("base")]
        for run in finished:
            assert make(run, store).status == "ok"
        training, scoring = small("lora", rank=4, seed=5), small("lora", rank=4, seed=6)
        stop_in_training(training, store)
        stop_in_scoring(scoring, store)
    _add_older_rows(store)
    trained = [run for run in finished if run.variant != "base"]
    return [
        *_results(store, finished),
        *_outputs(store, finished, trained, folder / "rebuilt"),
        *workspaces(store, training, scoring),
        *_speed(store),
        *_caches(folder),
    ]


def _add_older_rows(store: Store) -> None:
    rows = (OLDER / "table.ndjson").read_text(encoding="utf-8")
    store.table.write_text(rows + store.table.read_text(encoding="utf-8"), encoding="utf-8")
    for kind in ("items", "runs"):
        for path in (OLDER / kind).iterdir():
            shutil.copy(path, store.results / kind / path.name)


# ------------------------------------------------------------------ results/


def _results(store: Store, finished: list[RunConfig]) -> Iterator[Subject]:
    a, b = finished[0].run_id, finished[2].run_id

    def report() -> Parts:
        sections, failed = compared_sections(store), failures(store)
        return {"tables": markdown(sections, failed, (), "figures"), "page": page(sections, failed, store)}

    def listing() -> Parts:
        with redirect_stdout(StringIO()) as printed, suppress(typer.Exit):
            list_runs(as_json=True, results=store.results)
        return {str(json.loads(line)["run_id"]): line for line in printed.getvalue().splitlines()}

    def compare() -> Parts:
        return {"json": json.dumps(comparison_json(compare_two(a, b, store), {}))}

    def problems() -> Parts:
        with recomputed_once():
            return {line: line for line in verify(store)}

    recomputed_once = _recomputed_once()
    reported, listed, compared = Reader("report", report), Reader("list", listing), Reader("compare", compare)
    verified = Reader("verify", problems, speaks=True)
    records = read_records(store.table)
    of_table = ("line ", *(record.run_id for record in records))
    (kinds,) = (store.results / "kinds").iterdir()  # of the questions of all finished runs
    yield Subject(kinds, "kinds", [reported, compared, verified])
    yield Subject(store.table, "table", [reported, listed, compared, verified], of_table)
    for record in records:
        readers = [reported, verified, *([compared] if record.run_id in (a, b) else [])]
        yield Subject(store.items(record.run_id), "items", readers, (record.run_id,))
        if store.excerpts(record.run_id).exists():
            yield Subject(store.excerpts(record.run_id), "excerpts", [reported, verified], (record.run_id,))


def _recomputed_once() -> Callable[[], AbstractContextManager[object]]:
    """What `verify` computes of a row and its items is remembered, for the runs that a fault does not concern."""
    remembered: dict[tuple[object, ...], tuple[object, list[str]]] = {}

    def once(compute: Callable[..., Iterable[str]]) -> Callable[..., list[str]]:
        def remembering(record: RunRecord, *items: Groups, as_written: bool = False) -> list[str]:
            # read_items gives its groups again
            key = (compute.__name__, record.model_dump_json(), as_written, *map(id, items))
            if key not in remembered:  # the groups stay, and nothing else gets their id
                remembered[key] = items, list(compute(record, *items, as_written=as_written))
            return remembered[key][1]

        return remembering

    names = {"disagreements": once(integrity.disagreements), "incoherent": once(integrity.incoherent)}
    return lambda: mock.patch.multiple(integrity, **names)


def _speed(store: Store) -> Iterator[Subject]:
    shutil.copytree(Path(__file__).parents[2] / "results" / "speed", store.results / "speed")

    def suites() -> Parts:
        page = render_page(store.results)  # which says of a suite without a file that it was not measured
        sections = page.partition("Not measured")[0].split("\n### ")
        return {section.partition(":")[0]: section.strip() for section in sections}

    reader = Reader("speed", suites, may_lack=True)
    for path in sorted(store.results.glob("speed/*/*.json")):
        yield Subject(path, "speed", [reader])


# ------------------------------------------------------------------ outputs/


def _outputs(store: Store, finished: list[RunConfig], trained: list[RunConfig], rebuilt: Path) -> Iterator[Subject]:
    for run in finished:
        folder, name = store.run_folder(run.run_id), run.run_id
        of_run = Reader(f"rebuild {name}", _rebuilding(folder.path, rebuilt))
        yield Subject(folder.record, "record", [of_run], (name,))
        yield Subject(folder.items, "run items", [of_run], (name,))
        yield Subject(folder.samples, "samples", [of_run], (name,))
        yield Subject(folder.kinds, "run kinds", [of_run], (name,))
        yield Subject(folder.config, "config", [of_run], (name,))
        if run in trained:
            yield Subject(folder.log, "log", [of_run], (name,))
            loaded = Reader(f"load {name}", _loading(run, store))
            yield Subject(folder.adapter, "adapter", [loaded], (name,))


def _rebuilding(folder: Path, place: Path) -> Callable[[], Parts]:
    """Reads a run's folder by bringing it back into empty results."""

    def read() -> Parts:
        shutil.rmtree(place, ignore_errors=True)
        outputs = place / "outputs"
        outputs.mkdir(parents=True)
        (outputs / folder.name).symlink_to(folder, target_is_directory=True)
        new = Store(place / "results", outputs)
        with redirect_stdout(StringIO()) as printed, suppress(typer.Exit):
            rebuild(new.results, new.outputs)
        for line in printed.getvalue().splitlines():
            if "brought back" not in line or "not brought back" in line:
                warnings.warn(line, Damaged, stacklevel=2)
        records = read_records(new.table)
        if not records:
            return {}
        (record,) = records
        return {
            "row": json.dumps(record.to_json(), sort_keys=True),
            "items": items_digest(pl.read_parquet(new.items(record.run_id))),
            "excerpts": new.excerpts(record.run_id).read_text(encoding="utf-8"),
        }

    return read


def _loading(run: RunConfig, store: Store) -> Callable[[], Parts]:
    record = find(store.table, run.run_id)
    assert record is not None

    def read() -> Parts:
        model, _ = load_adapted(record, run, store)
        return digests(antipasto.trainable_parameters(model))

    return read


# ------------------------------------------------------------------ caches


def _caches(folder: Path) -> Iterator[Subject]:
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(12, 20, generator=generator), torch.randn(16, 8, generator=generator)]
    for index, W in enumerate(matrices):
        reader = Reader(f"SVD {index}", _decomposing(W, folder / f"svd-{index}"))
        reader.read()
        (entry,) = (folder / f"svd-{index}").rglob("*.safetensors")
        yield Subject(entry, "SVD cache", [reader])
    gguf, cache = folder / "tiny.gguf", folder / "models"
    write_tiny_gguf(gguf)

    def plain() -> Parts:
        with mock.patch.dict("os.environ", {"ANTIPASTO_MODELS": str(cache)}), redirect_stderr(StringIO()):
            place = plain_folder(gguf, "float32")
            return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in _model_files(place)}

    plain()
    (place,) = [path for path in cache.iterdir() if path.is_dir()]
    reader = Reader("GGUF", plain)
    for path in _model_files(place):
        yield Subject(path, "GGUF cache", [reader], (place.name,))


def _model_files(place: Path) -> list[Path]:
    return sorted(place / name for name in ("model.safetensors", "config.json", "tokenizer.json"))


def _decomposing(W: torch.Tensor, cache: Path) -> Callable[[], Parts]:
    def read() -> Parts:
        with mock.patch.dict("os.environ", {"ANTIPASTO_CACHE": str(cache)}):
            return digests(svd(W)._asdict())

    return read
