"""Claims about prices from shapes: they are those that were published, and need no weight."""

import csv
import json

import pytest
from command import SHARED, bench

from antipasto_bench.core.errors import UserError
from antipasto_bench.run.shape_costs import cost_of_shapes
from antipasto_bench.spec.compose import compose

PUBLISHED = SHARED / "reference/lora_lite_qwen3.5-0.8b.csv"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the published table, which is not beside this checkout")
def test_parameters_and_macs_are_those_of_the_published_table():
    with open(PUBLISHED) as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 13
    for row in rows:
        given = {"rank": int(row["rank"])} if row["rank"] else {}
        found = cost_of_shapes(compose(row["variant"], given, "qwen3.5-0.8b"))
        assert found.trainable_params == int(row["trainable_params"]), row["variant"]
        # Published to three digits; its hra row leaves out the update of x, which is as much again as the dot products.
        macs = found.added_macs_per_token / 1e6 / (2 if row["variant"] == "hra" else 1)
        assert f"{macs:.3g}" == f"{float(row['added_macs_per_token_millions']):.3g}", row["variant"]
        assert found.targets == 24


def test_the_command_prices_a_model_of_which_no_file_is_here(tmp_path):
    words = ["lora,antipasto", "rank=256", "--meta", "--preset", "qwen3.5-0.8b", "--json"]
    done = bench("cost", *words, cwd=tmp_path)
    lora, antipasto = (json.loads(line) for line in done.stdout.splitlines())
    assert lora["trainable_params"] == 24 * 256 * (1024 + 3584)
    assert antipasto["trainable_params"] == 15_360
    assert antipasto["added_macs_per_token"] == 28_336_128
    text = bench("cost", "delta_s", "--meta", "--preset", "qwen3-0.6b", cwd=tmp_path).stdout
    assert "196 layers" in text, "seven projections in each of 28 blocks"


def test_all_linear_names_every_projection_and_not_the_head():
    """Of nano, whose head is tied; of its four blocks, seven projections each."""
    every = cost_of_shapes(compose("lora", {"targets": "all-linear", "exclude": []}, "nano"))
    assert every.targets == 28
    assert every.trainable_params == cost_of_shapes(compose("lora", {}, "nano")).trainable_params


def test_bytes_are_those_of_the_file_that_a_run_saves(tmp_path):
    import antipasto
    from antipasto_bench.run.models import load_model

    for variant in ("lora", "antipasto", "delta_s", "hra"):
        run = compose(variant, {}, "nano")
        model, _ = load_model(run)
        antipasto.attach(model, run.adapter_config)
        size = antipasto.save(model, tmp_path / variant).stat().st_size
        costs = cost_of_shapes(run)
        assert costs.trainable_params == sum(p.numel() for p in antipasto.trainable_parameters(model).values())
        assert 0 <= size - costs.adapter_bytes < 12_000, "the file has names and the config beside its tensors"


@pytest.mark.parametrize(
    ("variant", "given", "said"),
    [
        ("lora", {"rank": 2000}, r"layers\.0\.mlp\.down_proj: r=2000 is above"),
        ("lora", {"targets": ["nowhere"]}, "no linear layer matches"),
        (
            "lora",
            {"targets": ["q_proj", "v_porj"]},
            "lora: target_names: no layer is adapted for 'v_porj'; the nearest: v_",
        ),
        ("lora", {"exclude": ["lm_haed"]}, "lora: exclude_names: 'lm_haed' matches no layer; the nearest: lm_head"),
        ("lora", {"layers": [0, 99]}, "lora: layers: 99 is no block of this model; it has 0 to 23"),
        ("lora", {"model": "org/unknown"}, "model=org/unknown: not in the cache, and the hub did not give it"),
        ("road", {"group_size": 48}, "not a multiple of group_size=48"),
    ],
)
def test_what_cannot_be_priced_is_one_clear_error(variant, given, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=said):
        cost_of_shapes(compose(variant, given, "qwen3.5-0.8b"))


def test_base_costs_nothing():
    found = cost_of_shapes(compose("base", {}, "qwen3.5-0.8b"))
    assert found.trainable_params == found.added_macs_per_token == found.adapter_bytes == 0
    assert 0.7e9 < found.base_params < 0.9e9
