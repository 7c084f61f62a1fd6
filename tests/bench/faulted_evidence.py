"""A small project with evidence of every kind, and the readers of each of its files, for random faults."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from unittest import mock

import polars as pl
import torch
import typer
from faults import Reader, Subject
from safetensors.torch import load_file
from small_runs import StopAfter, make, small, store_in
from tiny_gguf import write_tiny_gguf

import antipasto
from antipasto.svd_cache import cache_entries, svd
from antipasto_bench.analysis.compare import compare_two
from antipasto_bench.analysis.compared_sections import compared_sections, failures
from antipasto_bench.cli.output import comparison_json
from antipasto_bench.cli.results import list_runs, rebuild
from antipasto_bench.core.errors import Damaged
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.report import html
from antipasto_bench.report.html import page
from antipasto_bench.report.markdown import markdown
from antipasto_bench.run.answer_log import AnswerLog
from antipasto_bench.run.checkpoints import TENSORS
from antipasto_bench.run.export import load_adapted
from antipasto_bench.run.gguf import plain_folder
from antipasto_bench.run.workspace import Workspace
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.store.folders import Store
from antipasto_bench.store.integrity import verify
from antipasto_bench.store.items import items_digest
from antipasto_bench.store.leases import HeldLease
from antipasto_bench.store.table import find, read_records
from antipasto_bench.sweeps.status import status_lines

RESULTS = Path(__file__).parents[2] / "results"
OLDER = (  # committed rows of an older schema, two arms of two seeds
    "nano__hra__r16__lr0.005__s300__seed0__", "nano__hra__r16__lr0.005__s300__seed1__",
    "nano__antipasto__rotnone__r64__lr0.1__s300__seed0__", "nano__antipasto__rotnone__r64__lr0.1__s300__seed1__",
)  # fmt: skip
SHARES = {  # how often a file of each kind is drawn
    "table": 24, "items": 16, "excerpts": 8, "record": 10, "run items": 4, "samples": 6, "log": 4, "config": 2,
    "adapter": 6, "checkpoint": 8, "workspace": 6, "answers": 6, "lease": 3, "SVD cache": 6, "GGUF cache": 1,
}  # fmt: skip
Parts = Mapping[str, object]


def build(folder: Path) -> list[Subject]:
    """Make the evidence in an empty folder, silently; gives its files with their readers."""
    store = store_in(folder)
    with redirect_stderr(StringIO()):
        finished = [small("lora", rank=4), small("lora", rank=4, seed=1), small("hra", rank=4), small("base")]
        for run in finished:
            assert make(run, store).status == "ok"
        training, scoring = small("lora", rank=4, seed=5), small("lora", rank=4, seed=6)
        _stop_in_training(training, store)
        _stop_in_scoring(scoring, store)
    _add_older_rows(store)
    trained = [run for run in finished if run.variant != "base"]
    return [
        *_results(store, finished),
        *_outputs(store, finished, trained, folder / "rebuilt"),
        *_workspaces(store, training, scoring),
        *_caches(folder),
    ]


def _stop_in_training(run: RunConfig, store: Store) -> None:
    try:
        make(run, store, stop=StopAfter(7))
    except Interrupted:
        return
    raise AssertionError("not stopped")


def _stop_in_scoring(run: RunConfig, store: Store) -> None:
    add, answered = AnswerLog.add_partial, 0

    def interrupting(log: AnswerLog, *given: object) -> None:
        nonlocal answered
        add(log, *given)  # type: ignore[arg-type]
        answered += 1
        if answered == 20:
            raise Interrupted(signal.SIGINT)

    with mock.patch.object(AnswerLog, "add_partial", interrupting):
        try:
            make(run, store)
        except Interrupted:
            return
    raise AssertionError("not stopped")


def _add_older_rows(store: Store) -> None:
    lines = (RESULTS / "table.ndjson").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [line for line in lines if json.loads(line)["run_id"].startswith(OLDER)]
    assert len(rows) == len(OLDER)
    store.table.write_text("".join(rows) + store.table.read_text(encoding="utf-8"), encoding="utf-8")
    for line in rows:
        run_id = json.loads(line)["run_id"]
        shutil.copy(RESULTS / "items" / f"{run_id}.parquet", store.items(run_id))
        if (RESULTS / "runs" / f"{run_id}.json").exists():
            shutil.copy(RESULTS / "runs" / f"{run_id}.json", store.excerpts(run_id))


# ------------------------------------------------------------------ results/


def _results(store: Store, finished: list[RunConfig]) -> Iterator[Subject]:
    a, b = finished[0].run_id, finished[2].run_id

    def report() -> Parts:
        sections, failed = compared_sections(store), failures(store)
        with _numbers_for_drawings():
            return {"tables": markdown(sections, failed, (), "figures"), "page": page(sections, failed, store)}

    def listing() -> Parts:
        with redirect_stdout(StringIO()) as printed, suppress(typer.Exit):
            list_runs(as_json=True, results=store.results)
        return {str(json.loads(line)["run_id"]): line for line in printed.getvalue().splitlines()}

    def compare() -> Parts:
        return {"json": json.dumps(comparison_json(compare_two(a, b, store), {}))}

    def problems() -> Parts:
        return {line: line for line in verify(store)}

    reported, listed, compared = Reader("report", report), Reader("list", listing), Reader("compare", compare)
    verified = Reader("verify", problems, speaks=True)
    records = read_records(store.table)
    of_table = ("line ", *(record.run_id for record in records))
    yield Subject(store.table, "table", [reported, listed, compared, verified], of_table)
    for record in records:
        readers = [reported, verified, *([compared] if record.run_id in (a, b) else [])]
        yield Subject(store.items(record.run_id), "items", readers, (record.run_id,))
        if store.excerpts(record.run_id).exists():
            yield Subject(store.excerpts(record.run_id), "excerpts", [reported, verified], (record.run_id,))


@contextmanager
def _numbers_for_drawings() -> Iterator[None]:
    """Puts the numbers of the page's drawings in place of the drawings, which take a second."""
    with (
        mock.patch.object(html, "pareto_explorer", lambda section: {"arms": repr(section.arms)}),
        mock.patch.object(html, "learning_curves", lambda curves: {"curves": repr(curves)}),
        mock.patch.object(html, "ablation_chart", lambda swept, _: mock.Mock(to_dict=lambda: {"swept": repr(swept)})),
        mock.patch.object(html, "_vega", return_value=""),
    ):
        yield


# ------------------------------------------------------------------ outputs/


def _outputs(store: Store, finished: list[RunConfig], trained: list[RunConfig], rebuilt: Path) -> Iterator[Subject]:
    for run in finished:
        folder, name = store.run_folder(run.run_id), run.run_id
        of_run = Reader(f"rebuild {name}", _rebuilding(folder.path, rebuilt))
        yield Subject(folder.record, "record", [of_run], (name,))
        yield Subject(folder.items, "run items", [of_run], (name,))
        yield Subject(folder.samples, "samples", [of_run], (name,))
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
        return _tensors(antipasto.trainable_parameters(model))

    return read


# ------------------------------------------------------------------ runs under way


def _workspaces(store: Store, training: RunConfig, scoring: RunConfig) -> Iterator[Subject]:
    folder = store.workspace(training.run_id)

    def checkpoint() -> Parts:
        latest = Workspace(folder, training).checkpoints.latest()
        if latest is None:
            return {}
        tensors = _tensors(load_file(latest.folder / TENSORS)) | _tensors(load_file(latest.adapter))
        return {"all": json.dumps([latest.state, tensors], sort_keys=True)}

    def log() -> Parts:
        workspace = Workspace(folder, training)
        latest = workspace.checkpoints.latest()
        lines = workspace.logged_until({} if latest is None else latest.state)
        return {str(json.loads(line)["step"]): line for line in lines}

    with _restored(store):
        resumed = Reader("go on training", _restoring(store, checkpoint))
        logged = Reader("go on with the log", _restoring(store, log), may_lack=True)
    for path in sorted(folder.checkpoints.rglob("*.*")):
        if path.is_file():
            yield Subject(path, "checkpoint", [resumed], (path.parent.name,))
    yield Subject(folder.log, "workspace", [logged], (training.run_id,))
    begun = Reader("go on with work of the same code", _restoring(store, checkpoint), may_lack=True)
    yield Subject(folder.versions, "workspace", [begun], (training.run_id,))
    scored = store.workspace(scoring.run_id)

    def trained() -> Parts:
        adapter = Workspace(scored, scoring).trained()
        return {} if adapter is None else {"trained": adapter.model_dump_json(exclude_unset=True)}

    def answers() -> Parts:
        workspace = Workspace(scored, scoring)
        if workspace.trained() is None:
            return {}
        logs = {path.name: path for path in scored.answer_logs()}
        splits = {name.removeprefix("answers-").removesuffix(".jsonl") for name in logs} & {"test", "valid"}
        if not splits:
            return {}
        log = workspace.answers(splits.pop(), merged=merged)
        return dict(log._answers) | {"unfinished": log.unfinished, "batch size": log.batch_size}

    first = next(scored.answer_logs()).read_text(encoding="utf-8").splitlines()[0]
    merged = "merged" in first
    taken = Reader("go on with what was trained", _restoring(store, trained), may_lack=True)
    answered = Reader("go on scoring", _restoring(store, answers), may_lack=True)
    for path in (scored.training, scored.adapter):
        yield Subject(path, "workspace", [taken], (scoring.run_id,))
    for path in scored.answer_logs():
        yield Subject(path, "answers", [answered], (scoring.run_id,))
    HeldLease(scoring.run_id, store).write()

    def status() -> Parts:
        return {line.split()[0]: True for line in status_lines(store)[1:] if line.startswith("nano")}

    yield Subject(store.lease(scoring.run_id), "lease", [Reader("status", status, may_lack=True)], (scoring.run_id,))


@contextmanager
def _restored(store: Store) -> Iterator[None]:
    """Leaves the workspaces as they were: a reader drops what it cannot use."""
    place = store.outputs / ".workspaces"
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    try:
        yield
    finally:
        for path in [path for path in place.rglob("*") if path.is_file() and path not in before]:
            path.unlink()
        for path, content in before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)


def _restoring(store: Store, read: Callable[[], Parts]) -> Callable[[], Parts]:
    def reading() -> Parts:
        with _restored(store):
            return read()

    return reading


# ------------------------------------------------------------------ caches


def _caches(folder: Path) -> Iterator[Subject]:
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(12, 20, generator=generator), torch.randn(16, 8, generator=generator)]
    for index, W in enumerate(matrices):
        before = {*cache_entries()}
        svd(W)
        (entry,) = {*cache_entries()} - before
        yield Subject(entry, "SVD cache", [Reader(f"SVD {index}", _decomposing(W))], ())
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


def _decomposing(W: torch.Tensor) -> Callable[[], Parts]:
    return lambda: _tensors(svd(W)._asdict())


def _tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, object]:
    return {name: hashlib.sha256(t.detach().contiguous().numpy().tobytes()).hexdigest() for name, t in tensors.items()}
