"""Claims about what is recorded of places: names, never paths, users or hosts."""

import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.core.places import recorded_name, shown_name, without_places

ROOT = Path(__file__).parents[3]
PART = st.text("abcdefgXYZ019_-.", min_size=1, max_size=8).filter(lambda part: set(part) != {"."})


@pytest.mark.parametrize(
    "reference", ["nano", "smollm2-135m", "org/name", "org/name:config", "holdout", "benchmark/data/nano/train.parquet"]
)
def test_hub_ids_packaged_names_and_files_of_the_project_stay_as_they_are(reference, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert recorded_name(reference) == reference
    assert shown_name(reference) == reference


def test_an_absolute_path_into_the_project_is_recorded_relative_to_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert recorded_name(str(ROOT / "benchmark" / "data" / "nano" / "train.parquet")) == (
        "benchmark/data/nano/train.parquet"
    )


def test_files_of_a_benchmark_folder_that_is_a_link_are_named_as_in_the_project_that_has_them(tmp_path, monkeypatch):
    (tmp_path / "benchmark").symlink_to(ROOT / "benchmark")
    monkeypatch.chdir(tmp_path)
    assert recorded_name("benchmark/data/nano/train.parquet") == "benchmark/data/nano/train.parquet"


def test_any_other_file_is_recorded_by_its_last_component(tmp_path, monkeypatch):
    (tmp_path / "secret" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "secret" / "model")
    for reference in (str(tmp_path / "secret" / "model"), "secret/model", "./secret/model/", "secret/../link", "link"):
        assert recorded_name(reference) == "model"
    assert recorded_name("/gone/secret/texts.jsonl") == "texts.jsonl"


def test_a_file_in_a_hidden_folder_of_a_project_is_recorded_and_shown_by_its_last_component(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "benchmark").mkdir()
    for folder in ("data", ".cache/data"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "rows.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("antipasto_bench.core.places.find_project", lambda: tmp_path)
    assert recorded_name("data/rows.jsonl") == shown_name("data/rows.jsonl") == "data/rows.jsonl"
    for reference in (".cache/data/rows.jsonl", "./.cache/data/rows.jsonl"):
        assert recorded_name(reference) == shown_name(reference) == "rows.jsonl"


@given(st.lists(PART, min_size=1, max_size=5), st.sampled_from(["/", "~/", "../", "C:\\", "\\\\"]))
def test_a_path_in_an_older_row_is_shown_by_its_last_component(parts, start):
    separator = "\\" if "\\" in start else "/"
    assert shown_name(start + separator.join(parts)) == parts[-1]


def test_an_error_text_has_no_path_no_user_and_no_host(tmp_path, monkeypatch):
    home = tmp_path / "home" / "alice"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-box-7.example.org")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/somewhere/tmp")
    monkeypatch.chdir(ROOT)
    assert without_places(f"{ROOT}/src/a.py failed", {}) == "./src/a.py failed"
    assert without_places(f"cannot open '{home}/secret/m/x.bin'", {}) == "cannot open '~/x.bin'"
    assert without_places("in /somewhere/tmp/torchinductor_alice/ab/k.so: bad", {}) == "in TMP/k.so: bad"
    assert without_places("/opt/lib/torch/nn/x.py:3: bad (/mnt/c/d)", {}) == "x.py:3: bad (d)"
    assert without_places("model /mnt/secret/m: lacks", {"/mnt/secret/m": "m"}) == "model m: lacks"
    assert without_places("no route from gpu-box-7 as alice", {}) == "no route from HOST as USER"
    for plain in ("the loss is nan at step 3 of 8 (lr 1e+30)", "1/2 of 3/4, see https://host.org/a/b/c", "a/b"):
        assert without_places(plain, {}) == plain
