"""Claims about what the command line tells."""

import json
from importlib.metadata import version

import pytest
from command import QUICK, bench

from antipasto import CONFIGS

pytestmark = pytest.mark.slow


def test_help_names_every_command(tmp_path):
    shown = bench("--help", cwd=tmp_path).stdout
    names = "run sweep status demo report list show export variants compare speed measure cost cache presets results"
    for command in names.split():
        assert f" {command} " in shown


@pytest.mark.parametrize(
    ("words", "said"), [(["--help"], "--version"), (["run", "--help"], "KEY=VALUE"), (["--version"], "torch")]
)
def test_help_and_version_come_without_loading_torch_or_the_table(tmp_path, words, said):
    helped = bench(*words, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert said in helped.stdout
    loaded = {line.rpartition("|")[2].strip() for line in helped.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "lm_eval", "polars", "datasets"}


def test_the_version_is_that_of_the_installed_packages(tmp_path):
    shown = bench("--version", cwd=tmp_path).stdout
    assert shown.startswith(f"antipasto-bench {version('antipasto-bench')} (")
    assert shown.endswith(f"torch {version('torch')})\n")


def test_the_catalogue_shows_every_variant_with_its_equation(tmp_path):
    shown = bench("variants", "--details", cwd=tmp_path).stdout
    assert "y' = y + (alpha / r) x A^T B^T" in shown
    assert "core(h) = R_U^T ((S + delta) * (R_V h))" in shown
    rows = [json.loads(line) for line in bench("variants", "--json", cwd=tmp_path).stdout.splitlines()]
    assert {row["variant"] for row in rows} == {*CONFIGS, "full", "layernorm", "bitfit"}


def test_presets_are_listed_with_what_they_stand_for(tmp_path):
    rows = {p["preset"]: p for p in map(json.loads, bench("presets", "--json", cwd=tmp_path).stdout.splitlines())}
    assert rows["qwen3.5-0.8b"]["model"] == "Qwen/Qwen3.5-0.8B-Base"
    assert rows["qwen3.5-0.8b"]["steps"] * rows["qwen3.5-0.8b"]["batch_size"] == 20_000
    assert {"nano", "qwen3-0.6b"} <= rows.keys()
    assert "\nnano " in "\n" + bench("presets", cwd=tmp_path).stdout


def test_the_catalogue_counts_on_any_shape_and_says_where_a_variant_does_not_fit(tmp_path):
    words = ["variants", "lora", "antipasto_rot", "--shape", "1024x3584", "--shape", "64x128", "--json"]
    words += ["--preset", "qwen3.5-0.8b"]
    lora, antipasto = map(json.loads, bench(*words, cwd=tmp_path).stdout.splitlines())
    assert lora["counts"]["64x128"] == {"trained_parameters": 32 * 192, "added_macs": 32 * 192}
    assert antipasto["variant"] == "antipasto"
    assert "r=256 is above" in antipasto["counts"]["64x128"]
    for wrong, said in ((["--shape", "3"], "write d_out x d_in"), (["lore"], "did you mean 'lora'")):
        assert said in bench("variants", *wrong, cwd=tmp_path, expect=2).stderr


def test_the_cache_is_shown_cleared_and_bounded(tmp_path):
    """A run fills it, the command counts it, and clearing removes its entries and nothing else."""
    folder = tmp_path / "svd"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"not an entry")
    here = {"ANTIPASTO_CACHE": str(folder)}

    def shown(*words: str) -> dict:
        return json.loads(bench("cache", "--json", *words, cwd=tmp_path, **here).stdout)

    assert shown()["entries"] == 0
    bench("run", "antipasto", *QUICK, cwd=tmp_path, **here)
    full = shown()
    assert full["entries"] == 28
    assert full["bytes"] == sum(p.stat().st_size for p in folder.iterdir()) - len(b"not an entry")
    assert shown("--clear") == full | {"entries": 0, "bytes": 0, "removed": 28}
    assert [p.name for p in folder.iterdir()] == ["model.safetensors"]
    assert "nothing is kept" in bench("cache", cwd=tmp_path, ANTIPASTO_CACHE="off").stdout
    said = bench("cache", cwd=tmp_path, expect=2, ANTIPASTO_CACHE_GB="lots").stderr
    assert said == "error: ANTIPASTO_CACHE_GB='lots': expected a number of gigabytes, such as 8\n"


def test_the_variants_are_a_line_each_with_the_defaults_of_the_preset_in_force(tmp_path):
    """Counted on the down_proj of the preset's own model; what does not fit has a dash."""
    lines = bench("variants", cwd=tmp_path).stdout.splitlines()
    assert lines[0].split()[:5] == ["variant", "rank", "params", "128x384", "lr"]
    rows = {line.split()[0]: line.split() for line in lines[1 : len(CONFIGS) + 1]}
    assert rows.keys() == set(CONFIGS)
    assert rows["lora"][:5] == ["lora", "16", "8,192", "0.01", "a"]
    assert len({line.index("a trained") for line in lines if line.startswith(("lora ", "ia3 "))}) == 1, "aligned"
    assert lines[-1].startswith("Defaults of preset nano.")
    lines = bench("variants", "-p", "qwen3.5-0.8b", "--shape", "64x64", "--shape", "1024x3584", cwd=tmp_path).stdout
    (lora,) = [line.split() for line in lines.splitlines() if line.startswith("lora ")]
    assert lora[:5] == ["lora", "32", "4,096", "147,456", "0.0001"]
    (antipasto,) = [line.split() for line in lines.splitlines() if line.startswith("antipasto ")]
    assert antipasto[:3] == ["antipasto", "256", "-"]
    assert "y' = y + (alpha / r) x A^T B^T" in bench("variants", "lora", cwd=tmp_path).stdout


@pytest.mark.parametrize("words", [["-h"], ["sweep", "-h"], ["results", "verify", "-h"], ["-V"]])
def test_short_options_say_what_the_long_ones_say(tmp_path, words):
    long = [{"-h": "--help", "-V": "--version"}.get(word, word) for word in words]
    assert bench(*words, cwd=tmp_path).stdout == bench(*long, cwd=tmp_path).stdout != ""
