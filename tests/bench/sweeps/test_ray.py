"""Claims about sweeps on a Ray cluster: three nodes on this machine, each bound to 127.0.0.1."""

import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from command import QUICK, bench, start
from small_runs import SAME, make, result_of, store_in

import antipasto
from antipasto_bench.core.paths import benchmark_dir
from antipasto_bench.run.model_cache import ModelCache
from antipasto_bench.spec.sweep import sweep_of
from antipasto_bench.store.record import SCHEMA
from antipasto_bench.store.table import read_table
from antipasto_bench.sweeps.scheduler import Order, make_all
from antipasto_bench.sweeps.status import status_lines

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
pytestmark = pytest.mark.slow

HERE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then keeps to the loopback address
    "RAY_TMPDIR": "/tmp",  # the paths of its sockets must be short, whatever TMPDIR is
}
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000}
TIMED = re.compile(r".*_(s|ms)$|.*_per_s$|finished_at|provenance|file_sha256")  # the last: the log holds times
LONG = ["steps=100", *QUICK[1:], "eval.general=none", "checkpoint=2"]  # enough to meet three of them at once


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HERE.items():
            patch.setenv(name, value)
        nodes = cluster_utils.Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        for _ in range(2):
            nodes.add_node(**NODE)
    yield nodes
    nodes.shutdown()


def on(cluster, *words, cwd, store):
    folders = ["--results", store.results, "--outputs", store.outputs]
    return start("sweep", *words, "engine=ray", f"address={cluster.address}", *folders, cwd=cwd, **HERE)


def make_locally(sweep, store):
    models = ModelCache()
    make_all(sweep, store, lambda run, _: make(run, store, models=models), lambda _: None, Order())


def until(happens, process):
    deadline = time.time() + 150
    while not happens() and time.time() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert happens()


@pytest.mark.long
def test_a_sweep_that_loses_a_node_makes_the_table_of_one_process_alone(cluster, tmp_path):
    words = ["lora", "lr=1e-3,1e30", "seed=0,1,2", *LONG]
    sweep = sweep_of(words, None)
    there, here = store_in(tmp_path / "there"), store_in(tmp_path / "here")
    process = on(cluster, *words, cwd=tmp_path, store=there)
    workspaces = there.workspace("x").path.parent
    until(lambda: len({path.parts[-3] for path in workspaces.glob("*/checkpoints/step-*")}) == 3, process)
    said = "\n".join(status_lines(there, sweep))
    cluster.remove_node(sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0], allow_graceful=False)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 1, err
    assert "its node was lost; it goes on from what is kept" in err, err
    assert "6 runs: 3 running" in said
    assert re.search(r"step \d+ of 100, \d+ s, \S+ for process \d+", said), said
    assert there.table.read_bytes().count(b"\n") == 6

    make_locally(sweep, here)
    columns = [name for name in SCHEMA if not TIMED.match(name)]
    tables = [read_table(store.table).sort("run_id").select(columns) for store in (there, here)]
    assert [name for name in columns if not tables[0][name].eq_missing(tables[1][name]).all()] == []
    failed = set(read_table(there.table).filter(status="failed")["run_id"])
    assert 2 <= len(failed) < 6
    for run in (run for run in sweep.runs if run.run_id not in failed):
        assert result_of(run, there) == result_of(run, here)


@pytest.mark.long
def test_a_sweep_that_is_asked_to_stop_is_gone_on_with_by_another_engine(cluster, tmp_path):
    words = ["lora", "steps=80", *QUICK[1:], "eval.general=none"]
    (run,) = sweep_of(words, None).runs
    there, here = store_in(tmp_path / "there"), store_in(tmp_path / "here")
    process = on(cluster, *words, cwd=tmp_path, store=there)
    log = there.workspace(run.run_id).log
    until(lambda: log.exists() and log.stat().st_size > 0, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.splitlines()[-1].startswith("interrupted; the same command goes on")
    assert list(there.workspace(run.run_id).checkpoints.glob("step-*"))
    assert not list(there.locks.glob("*.json"))
    assert not list(there.outputs.glob(".shared*"))
    for store in (there, here):
        make_locally(sweep_of(words, None), store)
    assert result_of(run, there) == result_of(run, here)


@pytest.mark.long
def test_what_nodes_make_in_folders_of_their_own_comes_back(cluster, tmp_path):
    words = ["ia3,base", *QUICK, "eval.general=none"]
    sweep = sweep_of(words, None)
    there, here = store_in(tmp_path / "there"), store_in(tmp_path / "here")
    process = on(cluster, *words, f"scratch={tmp_path / 'scratch'}", cwd=tmp_path, store=there)
    trained = next(run for run in sweep.runs if run.trains)
    until(lambda: list((tmp_path / "scratch").glob(f"*/.locks/nodes/{trained.run_id}.json")), process)
    (note,) = (tmp_path / "scratch").glob(f"*/.locks/nodes/{trained.run_id}.json")
    os.kill(json.loads(note.read_text())["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert f"{trained.run_id}: its worker was lost; it is made again" in err
    make_locally(sweep, here)
    assert result_of(trained, there) == result_of(trained, here)
    tables = [read_table(store.table).sort("run_id").select("run_id", *SAME) for store in (there, here)]
    assert tables[0].equals(tables[1], null_equal=True)
    left = [path for path in (tmp_path / "scratch").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path for path in left if path.suffix != ".json"] == [], "but for the note of the process that was killed"


@pytest.mark.long
def test_nodes_that_have_other_code_make_no_run(cluster, tmp_path):
    src = tmp_path / "src"
    shutil.copytree(Path(antipasto.__file__).parents[1], src, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "benchmark").symlink_to(benchmark_dir())
    with open(src / "antipasto_bench" / "core" / "errors.py", "a") as file:
        file.write("# another version\n")
    there = store_in(tmp_path / "there")
    words = ["ia3", *QUICK, "engine=ray", f"address={cluster.address}"]
    folders = ["--results", there.results, "--outputs", there.outputs]
    said = bench("sweep", *words, *folders, cwd=tmp_path, expect=2, PYTHONPATH=str(src), **HERE).stderr
    assert said.count("makes no more of these runs: it has other versions than this machine (code)") >= 2
    assert "the cluster has no node that has room for a run" in said.splitlines()[-1]
    assert not there.table.exists()


@pytest.mark.long
def test_a_temporary_folder_too_long_for_the_sockets_of_a_node_is_named(tmp_path):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    words = ["sweep", "lora", "engine=ray", "address=127.0.0.1:1"]
    said = bench(*words, cwd=tmp_path, expect=2, TMPDIR=str(folder), PYTHONUNBUFFERED="1").stderr.splitlines()[-1]
    assert f"With TMPDIR={folder} a node cannot start here" in said
    assert "`export RAY_TMPDIR=/tmp` before `ray start`" in said
    short = bench(*words, cwd=tmp_path, expect=2, TMPDIR=str(folder), RAY_TMPDIR="/tmp", PYTHONUNBUFFERED="1").stderr
    assert "cannot start here" not in short


def test_mistakes_about_a_cluster_are_told_in_one_line(tmp_path):
    said = bench("sweep", "lora", *QUICK, "engine=ray", "address=127.0.0.1:1", cwd=tmp_path, expect=2, **HERE).stderr
    assert "error: address=127.0.0.1:1: no Ray cluster answers (" in said.splitlines()[-1]
    assert not (tmp_path / "results").exists()


@pytest.mark.long
def test_a_sweep_until_it_is_decided_makes_one_round_after_another_on_the_cluster(cluster, tmp_path):
    store = store_in(tmp_path)
    words = ["lora,pissa", "seed=0,1,2", *QUICK, "eval.general=none", "--until", "decided"]
    process = on(cluster, *words, cwd=tmp_path, store=store)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert store.table.read_bytes().count(b"\n") == 6
    assert "undecided: pissa r=16; with one seed more" in err
    assert "undecided: pissa r=16; all seeds that were given are used up" in err
