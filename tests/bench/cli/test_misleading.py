"""Claims about commands that cannot be carried out: one line names the mistake and what to type, and that helps."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import ENVIRONMENT, QUICK, bench, files_below
from small_runs import make, small, store_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, str, str]:
    """A folder with a run of the untuned model and one of LoRA, and their ids."""
    folder = tmp_path_factory.mktemp("made")
    few = {"steps": 2, "eval.limit": 4, "eval.valid_limit": 4, "eval.batch_size": 4}
    base, lora = (make(small(variant, **few), store_in(folder)).run_id for variant in ("base", "lora"))
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("x")
    for name, text in {"bad.yaml": "a: [\n", "list.yaml": "- a\n", "empty.yaml": ""}.items():
        (folder / name).write_text(text)
    return folder, base, lora


MISTAKES: list[tuple[str, str]] = [
    ("run", "missing argument 'variant'; `antipasto-bench run --help` says what it takes"),
    ("run ''", "an argument is empty"),
    ("run lora --bogus", "no such option: --bogus"),
    ("run lora --preset", "--preset"),
    ("run lora,base", "this names 2 runs"),
    ("run rank=4", "name one variant, such as: antipasto-bench run lora"),
    ("run lora rank", "unknown variant 'rank'"),
    ("run lora =4", "cannot read '=4'"),
    ("run lora rank=", "cannot read 'rank='"),
    ("run lora steps=0", "steps=0: "),
    ("run lora lr=nan", "lr=nan: "),
    ("run lora model=''", "cannot read 'model='; write key=value"),
    ("run lora model=\"\"", "model=\"\": one of its values is empty"),
    ("run lora eval.tasks=\"\"", "one of its values is empty"),
    ("run lora seed=1,\"\"", "one of its values is empty"),
    ("run lora model=.", "model=.: it has no config.json, so it is no model folder"),
    ("run lora model=file", "model=file: it is a file; expected the folder of a model, or a .gguf file"),
    ("run lora model=empty", "model=empty: it is an empty folder"),
    ("run lora model=outputs/LORA", "is the folder of a run; write it as a model first: antipasto-bench export LORA"),
    ("run lora model=org/name", "HF_HUB_OFFLINE is set"),
    ("run lora device=meta", "device=meta: not available here; write device=cpu or device=auto"),
    ("run lora device=gpu", "device=gpu: not available here"),
    ("run lora eval.data=empty", "empty: not a folder that datasets' save_to_disk wrote"),
    ("run lora eval.tasks=gsm8k_metamath", "or give eval.data=PATH"),
    ("run lora eval.tasks=[nano_metamath,gsm8k_metamath]", "or leave it out of eval.tasks"),
    ("run lora --results file", "--results file: is a file; expected a folder"),
    ("run lora --outputs file", "--outputs file: is a file; expected a folder"),
    ("run lora --results file/below", "cannot write to"),
    ("run lora --preset bad.yaml", "bad.yaml: line 2: cannot be read as YAML"),
    ("run lora --preset list.yaml", "list.yaml: expected a mapping"),
    ("run lora --preset gone.yaml", "unknown preset 'gone.yaml'"),
    ("runn lora", "no such command 'runn'"),
    ("--preset nano run lora", "no such option: --preset"),
    ("sweep", "missing argument"),
    ("sweep gone.yaml", "gone.yaml: no such sweep file"),
    ("sweep lora --workers 0", "--workers"),
    ("sweep lora engine=slurm", "slurm"),
    ("status gone.yaml", "gone.yaml: no such sweep file"),
    ("variants loar", "unknown variant 'loar'"),
    ("variants lora --shape x", "x"),
    ("cost", "missing argument"),
    ("cost rank=4 --meta", "name at least one variant"),
    ("cost lora --meta model=empty", "model=empty: it is an empty folder"),
    ("cost lora --meta model=org/name", "HF_HUB_OFFLINE is set"),
    ("export LORA", "give one of --merged DIR"),
    ("export LORA --merged new --peft new", "give one of --merged DIR"),
    ("export LORA --merged full", "exists and is not an empty folder"),
    ("export LORA --merged file/below", "below lies below a file, and should lie in a folder"),
    ("export LORA --merged ''", "an argument is empty"),
    ("export LORA --merged new --dtype int8", "'int8' is not one of 'float32', 'bfloat16', 'float16'"),
    ("export BASE --peft new", "it has no adapter to export"),
    ("export LORA --merged new --outputs empty", "adapter.safetensors is not on this machine"),
    ("export --merged LORA", "missing argument 'RUN_ID'"),
    ("export LORA BASE --merged new", "expected model=PATH, data.train=PATH"),
    ("noise LORA --batch-sizes 4", "expected two numbers of questions, such as 8,48"),
    ("noise LORA --batch-sizes 8,8", "write --batch-sizes 2,4"),
    ("noise BASE --limit 0", "--limit"),
    ("show LORA --results gone", "--results gone: no such folder"),
    ("show LORA --results file", "--results file: is a file"),
    ("list --results gone", "--results gone: no such folder; give the one that holds table.ndjson"),
    ("list --results ''", "an argument is empty"),
    ("report --results gone", "--results gone: no such folder"),
    ("report --readme empty", "empty cannot be read as text: Is a directory; name another with --readme FILE"),
    ("report --readme file/x.md", "file is a file, and should be a folder"),
    ("report --reference gone.csv", "gone.csv: cannot be read as a reference table"),
    ("report LORA", "unexpected extra argument"),
    ("report --csv - --latex -", "--csv and --latex both name -"),
    ("report --csv empty", "empty is a folder, and should be a file"),
    ("report --latex file/x.tex", "file is a file, and should be a folder"),
    ("show LORA --card --json", "--card is Markdown with YAML in front; leave out --json"),
    ("reproduce LORA nano", "expected model=PATH, data.train=PATH"),
    ("reproduce LORA data.train=gone.jsonl", "its data or its task are not what they were, or lie elsewhere"),
    ("reproduce LORA --accuracy 101", "--accuracy"),
    ("compare LORA", "missing argument 'B'"),
    ("compare LORA nothing", "no run 'nothing' in"),
    ("compare lora,base base", "write a run id, or one variant with settings"),
    ("compare LORA BASE --show 2 --outputs empty", "samples.jsonl is not on this machine"),
    ("measure", "name a run, or give --all"),
    ("measure --all --outputs empty", "none of the 2 finished runs in"),
    ("measure --all --results empty", "holds no finished run; make one with: antipasto-bench run lora"),
    ("measure LORA --general gone.jsonl", "gone.jsonl: no such file"),
    ("measure LORA --costs --general x", "leave out --general"),
    ("results verify --results gone", "--results gone: no such folder"),
    ("demo rank", "demo has variants of its own"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), MISTAKES, ids=[line for line, _ in MISTAKES])
def test_a_command_that_cannot_be_carried_out_is_one_line_and_writes_nothing(made, line, said):
    folder, base, lora = made
    words = [word.replace("LORA", lora).replace("BASE", base).replace("''", "") for word in line.split()]
    before = files_below(folder)
    done = bench(*words, cwd=folder, expect=2)
    errors = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert errors == done.stderr.splitlines()[-1:]
    assert said.replace("LORA", lora) in errors[0]
    assert "Traceback" not in done.stderr
    assert files_below(folder) == before


def test_what_measure_all_advises_works(made):
    folder, _, lora = made
    refused = bench("measure", "--all", "--outputs", "empty", cwd=folder, expect=2)
    assert "--outputs DIR, or give --all --costs" in refused.stderr
    done = bench("measure", "--all", "--outputs", "outputs", "--general", "none", cwd=folder)
    assert lora in done.stdout


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line with `$B` for the program, in a shell that can close and redirect its streams."""
    settings = os.environ | ENVIRONMENT | {"B": f"{sys.executable} -m antipasto_bench"} | environment
    return subprocess.run(["sh", "-c", script], cwd=folder, env=settings, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_said_as_such(made):
    done = shell("$B list > /dev/full", made[0])
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written to stdout: No space left on device\n"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("$B list >&-", 2, "error: stdout is closed"),
        ("$B list <&-", 0, ""),
        ("$B show x 2>&-", 2, ""),
        ("mkdir gone && cd gone && rmdir ../gone && $B list", 2, "error: the current folder is gone"),
        ("COLUMNS=1 $B show", 2, "error: missing argument 'RUN_ID'; `antipasto-bench show --help`"),
        ("unset HOME; LC_ALL=C $B list", 0, ""),
        ("$B show x", 2, "error: no run 'x'"),
    ],
)
def test_a_process_with_odd_surroundings_ends_in_one_line(made, script, code, said):
    done = shell(script, made[0])
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") <= 1


def test_a_folder_without_a_tokenizer_is_refused_where_it_trained_to_nan(made, tmp_path):
    from antipasto_bench.nano import MODEL_DIR

    shutil.copytree(MODEL_DIR, tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).unlink()
    done = bench("run", "lora", "model=model", *QUICK, cwd=tmp_path, expect=2)
    assert "model=model: it has no tokenizer; copy tokenizer.json" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "results" / "table.ndjson").exists()
