"""Claims about the commands that pages and help print: each of them works as printed.

`PLACES` says of every command how that is tested, and a command without a place there fails the first test. Run for
real is what this machine can run: trainings with the words of `QUICK` appended, which make them small. A sweep of
hours, a model of a hub or a cluster's sweep is read to the last word and planned. What installs packages or needs a
cluster is listed with the reason.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from command import ENVIRONMENT, QUICK, bench
from page_commands import ROOT, page_commands, scripts, short_phrases
from recorded import record

from antipasto_bench.cli.app import app
from antipasto_bench.nano import MODEL_DIR
from antipasto_bench.spec.sweep import sweep_of
from antipasto_bench.store.folders import Store
from antipasto_bench.store.table import append, read_records
from antipasto_bench.sweeps.engine import parse_engine


@dataclass(frozen=True)
class Run:
    """It is run for real."""

    home: str  # the fixture in whose folder
    said: str  # a part of what it prints
    more: tuple[str, ...] = ()  # words that are appended, to make it small


@dataclass(frozen=True)
class Plan:
    """Its words are parsed and every run that it names is resolved; to make them takes hours, a hub or a cluster."""

    runs: int


@dataclass(frozen=True)
class Parse:
    """Its options and arguments are read; nothing is made of them here."""

    why: str


@dataclass(frozen=True)
class Elsewhere:
    """Another test runs it."""

    test: str


@dataclass(frozen=True)
class Recipe:
    """A recipe of the justfile, with what that starts."""

    starts: str


@dataclass(frozen=True)
class Machine:
    """It changes a machine or needs a cluster, and is no command of this project."""

    why: str


INSTALLS = Machine("installs packages from an index; the extra that it names is compared with pyproject.toml")
CLUSTER = Machine("needs a Ray cluster; tests/bench/sweeps/test_ray.py starts one by the same engine")
WORKED_EXAMPLE = "tests/bench/project/test_docs.py::test_the_worked_example_"
SMALL = tuple(QUICK)

PLACES: dict[str, Run | Plan | Parse | Elsewhere | Recipe | Machine] = {
    # what reads the committed results
    "antipasto-bench report": Run("evidence", "README.md: already up to date"),
    "antipasto-bench report --full": Run("evidence", "| pissa "),
    "antipasto-bench report --reference benchmark/reference/FILE.csv": Run("evidence", "Published elsewhere"),
    'antipasto-bench compare lora "antipasto rotate_basis=V"': Run("evidence", "A - B  +11.5 points"),
    "antipasto-bench list lora seed=0 --sort -test_accuracy": Run("evidence", "nano__lora__r64__lr0.01__s300__seed0"),
    "antipasto-bench list variant=lora lr=1e-2 seed=0 --sort -test_accuracy": Run("evidence", "__r64__lr0.01__"),
    "antipasto-bench results verify": Run("evidence", "results: whole"),
    "antipasto-bench results rebuild": Run("evidence", "0 runs brought back"),
    "antipasto-bench status": Run("evidence", ""),
    "antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2 --dry-run": Run("evidence", "15 runs"),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml --dry-run": Run("evidence", " runs: "),
    # what reads nothing
    "antipasto-bench --version": Run("evidence", "torch"),
    "antipasto-bench variants": Run("evidence", "params 128x384"),
    "antipasto-bench variants antipasto": Run("evidence", "core(h) = R_U^T"),
    "antipasto-bench variants --preset qwen3.5-0.8b": Run("evidence", "params 1024x3584"),
    "antipasto-bench cost lora,hra rank=32 --meta --preset qwen3.5-0.8b": Run("evidence", "hra r=32"),
    "antipasto-bench cost lora,antipasto rank=32,256 --meta --preset qwen3.5-0.8b": Run("evidence", "lora r=256"),
    "antipasto-bench cost lora,antipasto --preset nano": Run("evidence", "antipasto r=64"),
    "antipasto-bench cache": Run("evidence", "SVDs"),
    # what trains, made small, and what reads the runs of that
    "antipasto-bench run antipasto rotate_basis=V --preset nano": Run("trained", "done", SMALL),
    "antipasto-bench run antipasto rotate_basis=V rank=64 --preset nano": Run("trained", "done", SMALL),
    "antipasto-bench demo": Run("trained", "| base ", SMALL),
    "antipasto-bench demo steps=40 eval.limit=60 costs=false": Run("trained", "| base "),
    'antipasto-bench compare lora "antipasto rotate_basis=V" --show 5': Run("trained", "A - B  "),
    "antipasto-bench show RUN_ID": Run("trained", "variant: lora"),
    "antipasto-bench measure RUN_ID": Run("trained", " nats a token"),
    "antipasto-bench measure --all --general texts.jsonl": Run("trained", " nats a token"),
    "antipasto-bench measure --all --costs": Run("trained", " ms"),
    "antipasto-bench noise RUN_ID": Run("trained", "verdicts that differ"),
    "antipasto-bench noise RUN_ID --batch-sizes 8,48": Run("trained", "8 and 48 at once"),
    "antipasto-bench noise RUN_ID --batch-sizes 8,48 --limit 96": Run("trained", "8 and 48 at once"),
    "antipasto-bench export RUN_ID --merged DIR": Run("trained", "new"),
    "antipasto-bench export RUN_ID --peft DIR": Run("trained", "new"),
    "lm_eval run --model hf --model_args pretrained=DIR --include_path benchmark/tasks --tasks nano_metamath "
    "--batch_size 100": Run("trained", "given-answer", ("--limit", "4")),
    "lm_eval --include_path benchmark/tasks --tasks nano_metamath --model hf --model_args pretrained=DIR": Run(
        "trained", "given-answer", ("--limit", "4")
    ),
    'antipasto-bench compare "lora model=smollm2-135m" "antipasto model=smollm2-135m"': Run("recorded", "A - B  +25.0"),
    # sweeps of hours, models of a hub, clusters
    "antipasto-bench sweep antipasto,lora rotate_basis=V,U,both,none seed=0,1,2": Plan(15),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml": Plan(271),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml --workers 2": Plan(271),
    "antipasto-bench sweep benchmark/sweeps/nano.yaml engine=ray address=auto": Plan(271),
    "antipasto-bench sweep benchmark/sweeps/lr.yaml": Plan(39),
    "antipasto-bench sweep benchmark/sweeps/rank.yaml": Plan(99),
    "antipasto-bench sweep benchmark/sweeps/rotate_basis.yaml": Plan(48),
    "antipasto-bench sweep lora,antipasto --preset smollm2-135m eval.limit=200": Plan(2),
    "antipasto-bench run lora --preset smollm2-135m dtype=float32 eval.limit=64": Plan(1),
    "antipasto-bench sweep lora,antipasto rotate_basis=V,U seed=0,1,2 --preset qwen3.5-0.8b": Plan(9),
    "antipasto-bench sweep antipasto,lora rotate_basis=V,U seed=0,1,2 --preset qwen3-0.6b engine=ray address=auto": (
        Plan(9)
    ),
    "antipasto-bench run antipasto rotate_basis=V --preset qwen3-0.6b": Plan(1),
    "antipasto-bench run antipasto rotate_basis=V --preset qwen3.5-0.8b": Plan(1),
    "antipasto-bench run antipasto rotate_basis=V --preset smollm2-135m": Plan(1),
    "torchrun --standalone --nproc-per-node 4 -m antipasto_bench run antipasto --preset qwen3-0.6b": Plan(1),
    "torchrun --nproc-per-node 4 -m antipasto_bench run antipasto --preset qwen3-0.6b": Plan(1),
    "antipasto-bench status benchmark/sweeps/nano.yaml --watch": Plan(271),
    # words that stand for others, and what takes minutes on a quiet machine
    "torchrun --nproc-per-node 4 -m antipasto_bench run ...": Parse("which run, the reader says"),
    "antipasto-bench sweep ...": Parse("which sweep, the reader says"),
    "antipasto-bench sweep ... engine=ray address=auto": Parse("which sweep, the reader says"),
    "antipasto-bench status ... --watch": Parse("which sweep, the reader says"),
    'antipasto-bench sweep benchmark/sweeps/my.yaml engine=ray address="$head"': Parse("a file of the reader's"),
    "antipasto-bench speed": Parse("half an hour on a quiet machine; tests/bench/speed runs the suites small"),
    "antipasto-bench speed --suite step": Parse("minutes on a quiet machine; tests/bench/speed runs it small"),
    "lm_eval run --model hf --model_args pretrained=DIR,dtype=float32 --include_path benchmark/tasks --tasks "
    "gsm8k_metamath --limit 64 --batch_size 16": Parse("GSM8K of a hub; tests/bench/run/test_smollm2.py runs it"),
    # the worked example, on a copy of the project with its file
    "antipasto-bench variants bounded": Elsewhere(f"{WORKED_EXAMPLE}is_in_the_catalogue_and_the_sweeps"),
    "antipasto-bench run bounded bound=0.3 basis=wanda --preset nano": Elsewhere(
        f"{WORKED_EXAMPLE}trains_gets_its_row_and_exports"
    ),
    "antipasto-bench sweep bounded,antipasto_gain lr=5e-2,1e-1 seed=0,1,2 --dry-run": Elsewhere(
        f"{WORKED_EXAMPLE}is_in_the_catalogue_and_the_sweeps"
    ),
    "scripts/just test tests/antipasto -k bounded": Elsewhere(f"{WORKED_EXAMPLE}is_under_every_law"),
    # recipes
    "scripts/just demo": Recipe("antipasto-bench demo"),
    "just demo": Recipe("antipasto-bench demo"),
    "just bench-variant antipasto rotate_basis=V preset=nano": Recipe(
        "antipasto-bench run antipasto rotate_basis=V preset=nano"
    ),
    "scripts/just test": Recipe("-m pytest"),
    "scripts/just test all": Recipe("-m pytest"),
    "scripts/just test tests/antipasto -k lora": Recipe("-m pytest"),
    "scripts/just lint": Recipe("lint-imports"),
    "scripts/just lock": Recipe("scripts/lock.py"),
    # what is no command of this project
    "python3 -m venv .venv": Machine("makes an environment; scripts/just does the same"),
    "pip install -c requirements.lock -e ./src -e '.[dev]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[quant]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[fla]'": INSTALLS,
    "pip install -c requirements.lock -e ./src -e '.[ray]'": INSTALLS,
    "pip install -e ./src -e '.[vllm]'": INSTALLS,
    "pip install .": Machine("is named because it ends in an error"),
    "pip install pre-commit": INSTALLS,
    "pre-commit install": Machine(
        "changes the hooks of a checkout; tests/bench/project/test_contributing.py reads them"
    ),
    "export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu": Machine("sets a variable of the reader's shell"),
    "export RAY_AUTH_MODE=token": Machine("sets a variable of the reader's shell"),
    "git clone URL antipasto-bench": Machine("which URL, the reader says"),
    "cd antipasto-bench": Machine("the reader's shell"),
    "ray get-auth-token --generate": CLUSTER,
    "ray start --head --port=6379": CLUSTER,
    "ray start --address=head:6379": CLUSTER,
    "ray status": CLUSTER,
    "ray stop": CLUSTER,
    "ray symmetric-run": CLUSTER,
    "accelerate launch": Machine("needs several GPUs"),
    "sbatch sweep.sbatch": Machine("needs SLURM; the script is read by bash below"),
}


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
    bench("sweep", "lora,antipasto", *QUICK, cwd=home)
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


LONG = ("report", "demo", "measure", "noise", "lm_eval", "verify", "cost lora,antipasto --preset nano")


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
    if program == "antipasto-bench":
        done = bench(*words, cwd=home)
    else:
        environment = os.environ | ENVIRONMENT | {"HF_HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-m", program, *words], cwd=home, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
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
    assert len(sweep_of(words, values["preset"]).runs) == PLACES[command].runs


@pytest.mark.parametrize("command", of_kind(Parse))
def test_a_command_that_is_not_run_here_has_options_that_exist(command, monkeypatch, tmp_path):
    program, *words = filled(command.replace(" ...", " lora"), tmp_path, MODEL_DIR)
    if program == "lm_eval":
        from lm_eval._cli.harness import HarnessCLI

        monkeypatch.setattr(sys, "argv", [program, *words])
        read = HarnessCLI().parse_args()
        assert (read.model, read.limit, str(read.batch_size)) == ("hf", 64, "16")
        assert "gsm8k_metamath" in read.tasks
        assert (ROOT / read.include_path / "gsm8k_metamath").is_dir()
        return
    name, values = parsed(of_the_bench(shlex.join([program, *words])))
    assert name in ("run", "sweep", "status", "speed")
    if name == "speed":
        from antipasto_bench.speed.running import SUITES

        assert {*(values["suite"] or [])} <= {*SUITES}
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
    assert named == {"dev", "quant", "fla", "ray", "vllm"}
    assert named <= {*extras}


def test_the_scripts_of_the_pages_are_shell_scripts():
    (script,) = scripts()
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_the_library_is_used_as_readme_prints(monkeypatch, tmp_path):
    import torch

    import antipasto

    (code,) = re.findall(r"```python\n(import antipasto, torch\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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
