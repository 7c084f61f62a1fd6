"""Claims about the words of a config: typed, they make the same run."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.compose import compose, expand, preset_names
from antipasto_bench.spec.config import BASE, RunConfig
from antipasto_bench.spec.grammar import parse_words
from antipasto_bench.spec.keys import adapter_keys, variant_names
from antipasto_bench.spec.words import words_of

TEXTS = st.sampled_from(["null", "~", "1.0", "main", "0123", "'quoted", "a b", "a'b", "[x", "true", "a,b", '"', "a\\b"])
SETTINGS = {
    "rank": st.integers(1, 64),
    "alpha": st.sampled_from([1.0, 32.0, 0.1, 1e-7, 12345678.0]),
    "rotate_basis": st.sampled_from(["V", "U", "both", "none"]),
    "basis": st.sampled_from(["svd", "wanda", "asvd", "corda"]),
    "targets": st.sampled_from(
        [
            ["q_proj"],
            ["q_proj", "v_proj"],
            [".*_proj"],
            ["(q|v)_proj$"],
            ["[qv]_proj", "a{1,2}"],
            "all-linear",
            ["null"],
        ]
    ),
    "layers": st.sampled_from([[0], [0, 2], [1, 2, 3]]),
    "lr": st.floats(1e-9, 10.0),
    "seed": st.integers(0, 2**32 - 1),
    "steps": st.integers(1, 10_000),
    "revision": TEXTS,
    "dtype": st.sampled_from(["float32", "bfloat16"]),
    "quant": st.sampled_from(["none", "4bit"]),
    "threads": st.sampled_from([1, 2, None]),
    "pack": st.booleans(),
    "data.train": st.sampled_from(["rows.jsonl", "1.0", "org/set:name"]),
    "data.limit": st.sampled_from([None, 10]),
    "eval.tasks": st.sampled_from([["gsm8k"], ["nano_metamath", "gsm8k"]]),
    "eval.valid": st.sampled_from(["none", "holdout", "v.jsonl"]),
    "eval.batch_size": st.sampled_from(["auto", 7]),
    "eval.merge_bound": st.sampled_from([None, 0.0, 0.5]),
    "eval.general": st.sampled_from(["none", "g.jsonl"]),
}


@st.composite
def configs(draw) -> RunConfig:
    while True:
        variant = draw(st.sampled_from(variant_names()))
        keys = draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=6, unique=True))
        own = adapter_keys(variant)
        values = {
            key: draw(SETTINGS[key])
            for key in keys
            if key in own or key not in ("rank", "alpha", "rotate_basis", "basis", "targets", "layers")
        }
        try:
            return compose(variant, values, draw(st.sampled_from(preset_names())))
        except UserError:  # no run at all: settings that exclude each other
            continue


def typed(words) -> RunConfig:
    (run,) = expand(*parse_words(shlex.split(shlex.join(words))))
    return run


@settings(max_examples=300)
@given(configs())
def test_words_of_a_config_make_it_again(config):
    assert typed(words_of(config)) == config


@pytest.mark.parametrize("variant", variant_names())
def test_a_run_as_its_preset_has_it_needs_no_word_but_its_preset(variant):
    assert words_of(compose(variant, {}, "nano")) == [variant, "preset=nano"]


def test_only_what_differs_from_the_preset_is_said():
    words = words_of(compose("lora", {"rank": 64, "seed": 3, "targets": ["q_proj", "v_proj"]}, "nano"))
    assert words == ["lora", "seed=3", "rank=64", "targets=[q_proj,v_proj]", "preset=nano"]


def test_a_run_of_a_preset_that_is_not_here_is_said_setting_by_setting():
    config = compose("dora", {"steps": 7, "lr": 0.5}, "nano").model_copy(update={"preset": "of-another-project"})
    again = typed(words_of(config))
    assert again == config.model_copy(update={"preset": "nano"})
    assert again.run_id == config.run_id


def test_a_run_of_older_rules_is_said_by_those_of_today():
    config = compose(BASE, {}, "nano")
    older = config.model_copy(update={"eval": config.eval.model_copy(update={"version": 1})})
    assert typed(words_of(older)) == config
