"""Claims about the words of a command: text is read as it was typed."""

from typing import get_args

import pytest

from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import DataConfig, EvalConfig, RunConfig
from antipasto_bench.spec.grammar import TEXT, parse_words


@pytest.mark.parametrize("text", ["1.0", "1234567", "0123", "1e5", "2024-01-01", "2024-99-01", "12" * 20, "true"])
@pytest.mark.parametrize("key", ["revision", "data.revision", "eval.revision"])
def test_a_revision_is_the_text_that_was_typed(key, text):
    _, axes = parse_words([f"{key}={text},main"])
    assert axes == {key: [text, "main"]}
    run = compose("lora", {key: axes[key][0]}, "nano")
    section, _, name = key.rpartition(".")
    assert getattr(getattr(run, section) if section else run, name) == text


def test_null_and_quotes_stay_what_they_are():
    assert parse_words(["data.revision=null", "revision='1.0'"])[1] == {"data.revision": [None], "revision": ["1.0"]}
    assert parse_words(["lr=5.0e-3", "eval.limit=30"])[1] == {"lr": [5e-3], "eval.limit": [30]}


def test_a_date_is_refused_where_no_text_is_expected():
    assert parse_words(["seed=2024-99-01"])[1] == {"seed": ["2024-99-01"]}
    with pytest.raises(UserError, match="seed=2024-99-01: expected a whole number of at least 0 and below 4294967296"):
        compose("lora", {"seed": "2024-99-01"}, "nano")


def test_every_setting_that_is_text_is_read_as_typed():
    sections = {"": RunConfig, "data.": DataConfig, "eval.": EvalConfig}
    text = {
        f"{section}{name}"
        for section, config in sections.items()
        for name, field in config.model_fields.items()
        if field.annotation is str or set(get_args(field.annotation)) == {str, type(None)}
    }
    assert set(TEXT) == text - {"preset", "variant"}, "those two are names of this program"
