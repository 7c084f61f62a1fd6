"""Claims about names in the evidence: no path, user or host is recorded, and the files are reached all the same."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import yaml
from command import bench
from small_runs import SMALL, make, store_in

from antipasto_bench.core.errors import UserError
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.report.write import write_report
from antipasto_bench.run.export import export_merged
from antipasto_bench.run.failures import record_dead_run
from antipasto_bench.run.local_files import runnable_config
from antipasto_bench.run.noise import measure_noise
from antipasto_bench.run.progress import Progress
from antipasto_bench.run.remeasure import remeasure, remeasure_costs
from antipasto_bench.spec.compose import compose
from antipasto_bench.store.folders import Store
from antipasto_bench.store.record import RunRecord
from antipasto_bench.store.table import find

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = Path(__file__).parents[3]
DATA = ROOT / "benchmark" / "data" / "nano"
SECRET, HOST, USER = "customer-of-ours", "gpu-box-7", "alice-of-ours"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Store, list[RunRecord]]:
    """A run and two that fail, of a model and data in folders whose names are nobody's business."""
    here = tmp_path_factory.mktemp("elsewhere")
    model = here / SECRET / "models" / "tuned"
    shutil.copytree(MODEL_DIR, model)
    data = here / SECRET / "data"
    shutil.copytree(DATA, data)
    paths = {
        "model": str(model),
        "data.train": str(data / "train.parquet"),
        "eval.valid": str(data / "valid.jsonl"),
        "eval.general": str(data / "general.jsonl"),
        "eval.general_limit": 4,
    }
    store = store_in(here / "work")
    runs = [compose("lora", SMALL | paths | {"costs": True}, "nano")]
    runs.append(compose("lora", SMALL | paths | {"lr": 1e30, "max_grad_norm": 1e30}, "nano"))
    runs.append(compose("lora", SMALL | paths | {"seed": 1}, "nano"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "gethostname", lambda: HOST)
        for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
            patched.setenv(name, USER)
        outcomes = [make(run, store) for run in runs[:2]]
        error = RuntimeError(f"{HOST}: cannot open {data}/train.parquet of {USER}, nor '{Path.home()}/.cache/x/y.bin'")
        failure = record_dead_run(runs[2], error, store)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed"]
    write_report(store, store.results / "README.md", store.results / "results.md")
    return here, store, [*(outcome.record for outcome in outcomes), failure]


def test_no_file_of_the_results_holds_a_path_a_user_or_a_host(made):
    here, store, (*_, failure) = made
    assert failure.error == "RuntimeError: HOST: cannot open train.parquet of USER, nor '~/y.bin'"
    words = [SECRET, str(here), str(Path.home()), HOST, USER, str(ROOT)]
    files = [path for path in store.results.rglob("*") if path.is_file()]
    assert {"table.ndjson", "report.html", "README.md"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        for word in words:
            assert word.encode() not in content, (path, word)


def test_the_record_has_names_and_digests_and_the_runs_own_folder_the_paths(made):
    here, store, (record, *_) = made
    config = record.config
    assert (record.model, config.model) == ("tuned", "tuned")
    names = (config.data.train, config.eval.valid, config.eval.general)
    assert names == ("train.parquet", "valid.jsonl", "general.jsonl")
    assert record.provenance.model.source.startswith("sha256:")
    assert {"train", "valid", "general"} <= set(record.provenance.data)
    noted = yaml.safe_load(store.run_folder(record.run_id).config.read_text())
    assert noted["model"] == str((here / SECRET / "models" / "tuned").resolve())
    again = runnable_config(record, store)
    assert again.model == noted["model"]
    assert again.data.train == noted["data"]["train"]


def test_what_reads_a_finished_run_finds_its_model_and_data(made, tmp_path):
    _, store, (record, *_) = made
    assert (export_merged(record.run_id, tmp_path / "merged", store).folder / "config.json").exists()
    assert measure_noise(record.run_id, store, (4, 2), 6, Progress(quiet=True)).questions == 6
    assert remeasure(record.run_id, store).general_tokens == record.general_tokens
    assert find(store.table, record.run_id).config == record.config  # names still


def test_a_model_that_was_moved_is_named_and_its_content_checked(made, tmp_path):
    _, store, (record, *_) = made
    lost = Store(store.results, tmp_path / "outputs")
    with pytest.raises(UserError, match=r"was made with the model tuned of sha256:[0-9a-f]{16}, .*model=PATH") as error:
        runnable_config(record, lost)
    assert "\n" not in str(error.value)
    moved = tmp_path / "moved"
    shutil.copytree(MODEL_DIR, moved)
    assert runnable_config(record, lost, {"model": str(moved)}).model == str(moved)
    (moved / "more.txt").write_text("another model")
    with pytest.raises(UserError, match="another model; "):
        runnable_config(record, lost, {"model": str(moved)})
    with pytest.raises(UserError, match="no such folder"):
        runnable_config(record, lost, {"model": str(tmp_path / "gone")})


def test_costs_are_not_measured_again_on_other_rows(made, tmp_path):
    _, store, (record, *_) = made
    lost = Store(store.results, tmp_path / "outputs")
    with pytest.raises(UserError, match=r"data.train=train.parquet, whose \d+ rows .* name it: data.train=PATH"):
        next(remeasure_costs([record.run_id], lost, {"model": str(MODEL_DIR)}))
    bench("measure", record.run_id, "train=x", "--results", store.results, cwd=tmp_path, expect=2)


def test_a_copy_of_a_model_is_the_same_run(made, tmp_path):
    here, store, (record, *_) = made
    shutil.copytree(MODEL_DIR, here / "copy", dirs_exist_ok=True)
    values = SMALL | {
        "model": str(here / "copy"),
        "data.train": str(DATA / "train.parquet"),
        "eval.valid": str(DATA / "valid.jsonl"),
    }
    run = compose("lora", values, "nano")
    assert run.run_id != record.run_id
    outcome = make(run, store)
    assert (outcome.status, outcome.run_id, outcome.record.run_id) == ("done", run.run_id, record.run_id)
    again = make(run, store, force=True)
    assert (again.status, again.record.run_id, again.record.model) == ("ok", record.run_id, "tuned")
    rows = [json.loads(line)["run_id"] for line in store.table.read_text().splitlines()]
    assert rows.count(record.run_id) == 1
    assert run.run_id not in rows
