"""Claims about what the command line tells."""

import json

import pytest
from command import bench

from antipasto import CONFIGS

pytestmark = pytest.mark.slow


def test_help_names_every_command_and_comes_without_loading_torch(tmp_path):
    shown = bench("--help", cwd=tmp_path).stdout
    for command in ("run", "sweep", "report", "list", "show", "export", "demo", "variants", "presets"):
        assert f" {command} " in shown
    helped = bench("run", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert "KEY=VALUE" in helped.stdout
    loaded = {line.rpartition("|")[2].strip() for line in helped.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "lm_eval", "polars"}


def test_the_catalogue_shows_every_variant_with_its_equation(tmp_path):
    shown = bench("variants", cwd=tmp_path).stdout
    assert "y' = y + (alpha / r) x A^T B^T" in shown
    assert "core(h) = R_U^T ((S + delta) * (R_V h))" in shown
    rows = [json.loads(line) for line in bench("variants", "--json", cwd=tmp_path).stdout.splitlines()]
    assert {row["variant"] for row in rows} == set(CONFIGS)


def test_presets_are_listed_with_what_they_stand_for(tmp_path):
    rows = {p["preset"]: p for p in map(json.loads, bench("presets", "--json", cwd=tmp_path).stdout.splitlines())}
    assert rows["qwen3.5-0.8b"]["model"] == "Qwen/Qwen3.5-0.8B-Base"
    assert rows["qwen3.5-0.8b"]["steps"] * rows["qwen3.5-0.8b"]["batch_size"] == 20_000
    assert {"nano", "qwen3-0.6b"} <= rows.keys()
    assert bench("presets", cwd=tmp_path).stdout.startswith("nano ")
