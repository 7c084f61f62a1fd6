"""Claims about models that bring code: nothing of it is run unless a user says so by name, and then it is recorded."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ENVIRONMENT
from hostile_models import CANARY, HOSTILE, NEEDS_WEIGHTS, hostile_model, own_classes
from huggingface_hub import constants
from jinja2.exceptions import SecurityError
from small_runs import make, small, store_in
from tiny_gguf import write_tiny_gguf

from antipasto_bench.core.compat import without_pickles
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.foreign_code import code_digest
from antipasto_bench.run.export import export_merged
from antipasto_bench.run.local_files import runnable_config
from antipasto_bench.run.models import load_model, load_tokenizer, loads_linear_attention
from antipasto_bench.run.rows import read_rows
from antipasto_bench.run.shape_costs import cost_of_shapes, meta_model
from antipasto_bench.spec.compose import compose

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def answer_yes_to_everything(monkeypatch):
    """As `yes y |` does in front of a command: what would ask is told to go on."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_and_none_of_its_code_runs(tmp_path, name):
    model = hostile_model(tmp_path, name)
    run = compose("lora", {"model": str(model)}, "nano")
    for load in (load_model, load_tokenizer, loads_linear_attention, cost_of_shapes):
        if name in NEEDS_WEIGHTS and load is not load_model:
            continue
        with pytest.raises(UserError) as error:
            load(run)
        assert HOSTILE[name][1] in str(error.value)
        assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize("name", ["other_repository", "absolute_path", "hub_kernel", "pytorch_bin", "pickled_index"])
def test_no_word_allows_code_of_elsewhere_or_pickles(tmp_path, name):
    model = hostile_model(tmp_path, name)
    run = compose("lora", {"model": str(model)}, "nano").model_copy(update={"trust_remote_code": True})
    with pytest.raises(UserError, match=r"not a file of its own|names code of the hub|pickles|no \.safetensors"):
        load_model(run)
    assert not (tmp_path / CANARY).exists()


def test_pickles_beside_safetensors_are_not_read(tmp_path):
    model = hostile_model(tmp_path, "pytorch_bin")
    os.link(hostile_model(tmp_path, "hub_kernel") / "model.safetensors", model / "model.safetensors")
    load_model(compose("base", {"model": str(model)}, "nano"))
    assert not (tmp_path / CANARY).exists()


def test_torch_load_is_refused_while_a_model_is_loaded_and_is_back_after(tmp_path):
    import torch

    torch.save({"a": 1}, tmp_path / "a.bin")
    with without_pickles(), pytest.raises(UserError, match="a pickle was to be read"):
        torch.load(tmp_path / "a.bin")
    assert torch.load(tmp_path / "a.bin", weights_only=True) == {"a": 1}


@pytest.mark.slow
def test_with_its_word_the_code_runs_and_the_row_names_it_by_its_digest(tmp_path):
    model = hostile_model(tmp_path, "own_classes")
    words = {"model": str(model), "trust_remote_code": True, "steps": 2, "eval.limit": 4, "eval.valid": "none"}
    run = small("lora", **words)
    assert run.trust_remote_code
    store = store_in(tmp_path)
    first, record = run.run_id, make(run, store).record
    assert (tmp_path / CANARY).read_text() == "ran"
    assert record.provenance.remote_code == code_digest(model)
    (tmp_path / CANARY).unlink()
    with pytest.raises(UserError, match="--trust-remote-code"):
        export_merged(first, tmp_path / "merged", store)
    with pytest.raises(UserError, match="--trust-remote-code"):
        runnable_config(record, store)
    assert not (tmp_path / CANARY).exists()
    assert export_merged(first, tmp_path / "merged", store, trust_remote_code=True).folder.is_dir()
    (model / "own.py").write_text((model / "own.py").read_text() + "# other code\n")
    assert small("lora", **words).run_id != first, "the id holds the code's content"
    with pytest.raises(UserError, match="holds another"):
        runnable_config(record, store, trust_remote_code=True)


def test_the_word_changes_no_id_where_a_model_has_no_code(tmp_path):
    plain = compose("lora", {}, "nano")
    assert compose("lora", {"trust_remote_code": True}, "nano") == plain
    own_classes(model := hostile_model(tmp_path, "own_classes"), tmp_path / CANARY)
    ids = {compose("lora", {"model": str(model), "trust_remote_code": t}, "nano").run_id for t in (False, True)}
    assert len(ids) == 2


@pytest.mark.parametrize("revision", [None, "main", "v1", COMMIT[:12]])
def test_code_of_the_hub_needs_a_whole_commit(revision):
    run = compose("lora", {"model": "org/name", "trust_remote_code": True, "revision": revision}, "nano")
    with pytest.raises(UserError, match="write revision=COMMIT, all 40 digits"):
        load_model(run)


def test_code_of_a_hub_model_in_the_cache_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub/models--org--name/snapshots" / COMMIT
    snapshot.parent.mkdir(parents=True)
    hostile_model(tmp_path, "own_classes").rename(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text(COMMIT)
    for revision in (None, COMMIT):
        with pytest.raises(UserError, match="it brings its own Python files"):
            meta_model(compose("lora", {"model": "org/name", "revision": revision}, "nano"))
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize(
    ("file", "settings", "said"),
    [
        (
            "tokenizer_config.json",
            {"auto_map": {"AutoTokenizer": ["other/repo--own.T", None]}},
            "not a file of its own",
        ),
        ("adapter_config.json", {"base_model_name_or_path": "other/repo"}, "it is a PEFT adapter of other/repo"),
    ],
)
def test_code_of_another_repository_is_refused_before_it_is_first_fetched(tmp_path, monkeypatch, file, settings, said):
    """With its word, too: only the code of one commit was read by the user."""
    model = hostile_model(tmp_path, "own_classes")
    (model / file).write_text(json.dumps(settings))

    def download(name, file, revision):
        assert (name, revision) == ("org/name", COMMIT)
        if not (model / file).exists():
            raise FileNotFoundError(file)
        return str(model / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    run = compose("lora", {"model": "org/name", "trust_remote_code": True, "revision": COMMIT}, "nano")
    with pytest.raises(UserError, match=said):
        load_model(run)
    assert not (tmp_path / CANARY).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch.py", "yaml.py", "transformers/__init__.py", "sitecustomize.py"])
def test_modules_of_the_current_folder_are_not_imported(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(f"open({str(tmp_path / CANARY)!r}, 'w').write('ran')\n")
    command = [sys.executable, "-m", "antipasto_bench", "cost", "lora", "--meta"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / CANARY).exists()


def test_what_lies_beside_a_gguf_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTIPASTO_MODELS", str(tmp_path / "models"))
    model = hostile_model(tmp_path, "tokenizer")
    write_tiny_gguf(model / "tiny.gguf")
    (model / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "a/b"}))
    loaded, _ = load_model(compose("lora", {"model": str(model / "tiny.gguf")}, "nano"))
    assert loaded.config.model_type == "llama"
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize("files", [("rows.py",), ("rows.py", "dataset_info.json", "state.json")])
def test_a_data_folder_with_a_loading_script_is_refused_and_the_script_not_run(tmp_path, files):
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in files:
        (folder / name).write_text("{}")
    (folder / "rows.py").write_text(f"open({str(tmp_path / CANARY)!r}, 'w').write('ran')\n")
    with pytest.raises(UserError, match=r"rows: not a folder that datasets' save_to_disk wrote"):
        read_rows(str(folder), ("query", "response"))
    assert not (tmp_path / CANARY).exists()


def test_a_chat_template_reaches_nothing_but_its_messages(tokenizer):
    """transformers renders templates in jinja's sandbox; the bench renders none, and a user of an export may."""
    attack = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(SecurityError, match="unsafe"):
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], chat_template=attack, tokenize=False)


FORBIDDEN = {"eval", "exec", "compile", "__import__"}  # builtins
FORBIDDEN_CALLS = {("torch", "load"), ("yaml", "load"), ("yaml", "safe_load"), ("np", "load"), ("numpy", "load"),
                   ("pickle", "load"), ("pickle", "loads"), ("joblib", "load"), ("pl", "read_ipc")}  # fmt: skip


def test_no_source_reads_pickles_or_leaves_the_running_of_code_to_a_default():
    calls = 0
    root = Path(__file__).parents[3]
    for path in sorted(file for part in ("src", "scripts") for file in (root / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            place = f"{path.name}:{node.lineno}"
            if isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN, place
            elif isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                assert (owner, node.func.attr) not in FORBIDDEN_CALLS, place
                if node.func.attr in ("from_pretrained", "from_config"):
                    calls += 1
                    named = {keyword.arg for keyword in node.keywords}
                    assert "trust_remote_code" in named or None in named, f"{place}: say trust_remote_code"
            assert not any(isinstance(inner, ast.Constant) and inner.value == "-m" for inner in ast.walk(node)), (
                f"{place}: start modules by module_command, which keeps the current folder off the path"
            )
    assert calls >= 7
