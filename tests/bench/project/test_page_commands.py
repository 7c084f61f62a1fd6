"""Claims about the commands that pages and help print: each of them works as printed.

`PLACES` (command_places.py) says of every command how that is tested; one without a place fails the first test. Run for
real is what this machine can run: trainings with the words of `SMALL` appended, which make them short. A sweep of
hours, a model of a hub or a cluster's sweep is read to the last word and planned. What installs packages or needs a
cluster is listed with the reason.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer
from command import bench
from command_places import PLACES, SMALL, Elsewhere, Machine, Parse, Plan, Recipe, Run
from page_commands import ROOT, page_commands, scripts, short_phrases
from recorded import record

from antipasto_bench.cli.app import app
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.spec.sweep import sweep_of
from antipasto_bench.spec.tune import tune_of
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append, read_records
from antipasto_bench.sweeps.engine import parse_engine


def of_kind(kind: type) -> list[str]:
    return [command for command, place in PLACES.items() if isinstance(place, kind)]


def test_every_command_that_a_page_or_help_prints_has_a_place_here_and_every_place_a_command():
    printed = page_commands()
    assert len(printed) > 90
    assert {command: page for command, page in printed.items() if command not in PLACES} == {}
    assert {*PLACES} - {*printed} == set()


# ------------------------------------------------------------------ run for real


def project(folder: Path) -> Path:
    (folder / "benchmark").symlink_to(ROOT / "benchmark")
    return folder


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Path:
    """A project with the committed results."""
    home = project(tmp_path_factory.mktemp("evidence"))
    shutil.copytree(ROOT / "results", home / "results")
    shutil.copy(ROOT / "README.md", home)
    return home


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A project with two small runs, one of them exported, and with texts."""
    home = project(tmp_path_factory.mktemp("trained"))
    bench("sweep", "lora,antipasto", *SMALL, cwd=home)
    shutil.copy(ROOT / "benchmark/data/nano/general.jsonl", home / "texts.jsonl")
    bench("export", "nano__lora", "--merged", "merged", cwd=home)
    return home


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A project with rows as runs of the preset smollm2-135m leave them."""
    home = project(tmp_path_factory.mktemp("recorded"))
    store = Store(home / "results", home / "outputs")
    for variant, right in (("lora", [0, 1, 2]), ("antipasto", [0])):
        row = record(store, variant, right)
        row.model, row.config = "smollm2-135m", row.config.model_copy(update={"model": "smollm2-135m"})
        append(store.table, row)
    return home


def filled(command: str, home: Path, new: Path) -> list[str]:
    """The words of a command with the reader's own in place of RUN_ID, DIR and FILE."""
    words = shlex.split(command)
    folder = home / "merged" if words[0] == "lm_eval" else new
    run_id = ""
    if "RUN_ID" in words:
        run_id = next(r.run_id for r in read_records(home / "results/table.ndjson") if r.variant == "lora")
    own = {"RUN_ID": run_id, "DIR": str(folder), "FILE": "lora_lite_qwen3.5-0.8b"}
    return [re.sub("|".join(own), lambda match: own[match[0]], word) for word in words]


LONG = ("report", "demo", "measure", "noise", "lm_eval", "verify")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.long] if any(word in command for word in LONG) else [])
        for command in of_kind(Run)
    ],
)
def test_a_command_runs_as_printed(command, request, tmp_path):
    place = PLACES[command]
    home = request.getfixturevalue(place.home)
    program, *words = [*filled(command, home, tmp_path / "new"), *place.more]
    done = bench(*words, cwd=home, module=program.replace("-", "_"))
    assert place.said in done.stdout + done.stderr


# ------------------------------------------------------------------ read and planned


def parsed(words: list[str]) -> tuple[str, dict[str, object]]:
    """The command that some words are for, and its parameters, by the very parser of the command line."""
    command, name, words = typer.main.get_command(app), "antipasto-bench", list(words)
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    return name, command.make_context(name, words).params


def of_the_bench(command: str) -> list[str]:
    """The words after the program's name, under torchrun too, whose own are read by torchrun's parser."""
    program, *words = shlex.split(command)
    if program == "torchrun":
        from torch.distributed.run import get_args_parser

        read = get_args_parser().parse_args(words)
        assert (read.module, read.training_script, read.nproc_per_node) == (True, "antipasto_bench", "4")
        return list(read.training_script_args)
    assert program == "antipasto-bench"
    return words


@pytest.mark.parametrize("command", of_kind(Plan))
def test_a_command_of_hours_names_runs_that_can_be_made(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    name, values = parsed(of_the_bench(command))
    words = [*([values["variant"]] if name == "run" else []), *values["words"]]
    _, words = parse_engine(words)
    assert runs_of(tuple(words), values["preset"]) == PLACES[command].runs


@cache
def runs_of(words: tuple[str, ...], preset: str | None) -> int:
    """How many runs the words name; several commands name the same."""
    return len(sweep_of(list(words), preset).runs)


@pytest.mark.parametrize("command", of_kind(Parse))
def test_a_command_that_is_not_run_here_has_options_that_exist(command, monkeypatch, tmp_path):
    program, *words = filled(command.replace(" ...", " lora"), tmp_path, MODEL_DIR)
    if program == "lm_eval":
        from lm_eval._cli.harness import HarnessCLI

        monkeypatch.setattr(sys, "argv", [program, *words])
        read = HarnessCLI().parse_args()
        given = {word: words[place + 1] for place, word in enumerate(words) if word.startswith("--")}
        assert (read.model, read.tasks) == ("hf", [given["--tasks"]])
        assert getattr(read, "limit", None) == (float(given["--limit"]) if "--limit" in given else None)
        assert getattr(read, "batch_size", None) == given.get("--batch_size")
        assert (ROOT / read.include_path / read.tasks[0]).is_dir()
        return
    name, values = parsed(of_the_bench(shlex.join([program, *words])))
    assert name in ("run", "sweep", "status", "speed", "tune")
    if name == "speed":
        from antipasto_bench.speed.running import SUITES

        assert {*(values["suite"] or [])} <= {*SUITES}
    elif name == "tune":
        assert tune_of(values["words"], values["preset"], budget=values["budget"]).arms
    else:
        parse_engine(list(values["words"] or []))


def test_options_that_a_page_names_with_a_command_alone_are_its_options():
    phrases = short_phrases()
    assert {"measure RUN_ID --costs", "run --force"} <= phrases
    for phrase in phrases:
        name, *words = phrase.split()
        command = typer.main.get_command(app).commands[name]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, phrase


@pytest.mark.parametrize("command", of_kind(Recipe))
def test_a_recipe_that_a_page_names_starts_what_it_says(command):
    """As `just` itself prints them; nothing is started."""
    just = shutil.which("just") or ROOT / ".venv/bin/just"
    if not Path(just).exists():
        pytest.skip("the runner `just` is not installed here; scripts/just fetches it")
    words = shlex.split(command)[1:]
    done = subprocess.run([just, "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = done.stderr.replace('"$@"', " ".join(words[1:])).replace(".venv/bin/", "")
    assert PLACES[command].starts in " ".join(text.split())


@pytest.mark.parametrize("command", of_kind(Elsewhere))
def test_a_command_that_another_test_runs_is_run_there(command):
    path, name = PLACES[command].test.split("::")
    text = (ROOT / path).read_text()
    assert f"def {name}(" in text
    body = text.partition(f"def {name}(")[2].partition("\ndef ")[0]
    words = [word for word in shlex.split(command)[1:] if not word.startswith("-")]
    assert all(f'"{word}"' in body for word in words if word != "test"), words


def test_the_extras_that_a_page_installs_are_declared():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for command in of_kind(Machine) for name in re.findall(r"\.\[(\w+)\]", command)}
    assert named == {"dev", "quant", "fla", "ray", "tensorboard", "vllm"}
    assert named <= {*extras}


def test_the_scripts_of_the_pages_are_shell_scripts():
    (script,) = scripts()
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_the_library_is_used_as_its_page_prints(monkeypatch, tmp_path):
    import torch

    import antipasto

    page = (ROOT / "docs/library.md").read_text()
    (code,) = re.findall(r"```python\n(import antipasto, torch\n.*?)```", page, re.DOTALL)
    model = torch.nn.ModuleDict({"down_proj": torch.nn.Linear(512, 256)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.chdir(tmp_path)
    exec(code, {"model": model})
    assert (tmp_path / "adapter.safetensors").stat().st_size > 256 * 4
    merged = model["down_proj"].weight.clone()
    antipasto.unmerge(model)
    assert not torch.equal(merged, before["down_proj.weight"])
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items()), (
        "the very same weights"
    )
