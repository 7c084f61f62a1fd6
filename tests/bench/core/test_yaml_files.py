"""Claims about YAML: plain values by one rule, and one line for anything else, quickly."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hostile_yaml import HOSTILE_YAML
from hypothesis import given
from hypothesis import strategies as st

from antipasto_bench.core.errors import UserError
from antipasto_bench.core.scalars import NULLS, read_scalar
from antipasto_bench.core.yaml_files import NotPlainError, parse, read_mapping

ROOT = Path(__file__).parents[3]
PLAIN_TEXT = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda text: text not in {"null", "true", "false"}
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | PLAIN_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN_TEXT, inner, max_size=4),
    max_leaves=20,
)


def outcome(read: Callable[..., object], *arguments: object) -> tuple[object, str]:
    """What is read, or else the message."""
    try:
        return read(*arguments), ""
    except (UserError, NotPlainError) as error:
        return None, str(error)


@pytest.mark.parametrize("name", [name for name, (_, said) in HOSTILE_YAML.items() if said != "unknown key"])
def test_what_is_no_plain_yaml_is_one_line_with_the_name_of_its_file(tmp_path, name):
    content, said = HOSTILE_YAML[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(UserError) as error:
        read_mapping(path)
    assert time.perf_counter() - began < 20
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < len(str(path)) + 200


def test_what_is_no_file_is_not_opened(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    for name in ("folder.yaml", "pipe.yaml", "endless.yaml"):
        with pytest.raises(UserError, match=f"{name}: is not a file"):
            read_mapping(tmp_path / name)
    with pytest.raises(UserError, match=r"gone\.yaml: cannot be read: No such file"):
        read_mapping(tmp_path / "gone.yaml")


@given(VALUES)
def test_what_yaml_writes_is_read_back(value):
    assert parse(yaml.safe_dump(value, allow_unicode=True)) == value


@given(st.text(max_size=60) | st.text("[]{}:,&*!|>'\"#%-? \n\t01a", max_size=60))
def test_any_text_is_a_plain_value_or_one_line(text):
    value, message = outcome(parse, text)
    assert isinstance(value, str | int | float | list | dict | None)
    assert "\n" not in message


@given(st.binary(max_size=80))
def test_any_bytes_are_a_mapping_or_one_line(content):
    path = Path(os.environ["ANTIPASTO_CACHE"]) / "fuzzed.yaml"
    path.write_bytes(content)
    value, message = outcome(read_mapping, path)
    assert isinstance(value, dict) or message.startswith(str(path))
    assert "\n" not in message


@given(st.integers(-(10**17), 10**17))
def test_a_whole_number_is_its_decimal_digits(number):
    assert read_scalar(str(number)) == number
    assert type(read_scalar(str(number))) is int


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_python_writes_it(number):
    assert read_scalar(repr(number)) == number


@given(st.text("0123456789_xXoObBeE+-.:,abcdef", min_size=1, max_size=12))
def test_no_text_is_a_number_that_decimal_reading_does_not_give(text):
    try:
        value = read_scalar(text)
    except ValueError:
        return
    if type(value) in (int, float):
        assert value == float(text) or text.lower().endswith(("inf", "nan"))
        assert "_" not in text
        assert not text.lstrip("+-").lower().startswith(("0x", "0o", "0b"))
        if type(value) is int:
            assert text.lstrip("+-") == "0" or not text.lstrip("+-").startswith("0")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E5", 1e5), ("+5", 5), ("-5", -5), ("0", 0), (".5", 0.5), ("5.", 5.0), ("true", True),
     ("TRUE", True), ("False", False), ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"),
     ("12:30", "12:30"), ("12:30:45", "12:30:45"),
     ("2024-01-01", "2024-01-01"), ("=", "="), ("<<", "<<"), ("~", None), ("null", None),
     (".inf", float("inf")), ("-.inf", float("-inf")), ("inf", "inf"), ("nan", "nan"), ("1e", "1e"), ("--1", "--1")],
)  # fmt: skip
def test_an_unquoted_scalar_is_what_yaml_1_2_says(text, value):
    assert read_scalar(text) == value
    assert type(read_scalar(text)) is type(value)


def test_a_negative_zero_is_zero_so_that_one_run_has_one_id():
    assert [str(read_scalar(text)) for text in ("-0.0", "-0e3", "-.0")] == ["0.0", "0.0", "0.0"]


@pytest.mark.parametrize(
    "text",
    [
        "010",
        "00",
        "-007",
        "0x10",
        "0o17",
        "0b1",
        "0o9",
        "1_000",
        "1__0",
        "1_0.5",
        "-0x1F",
        "1e999",
        "9" * 19,
        "0" * 5000,
    ],
)
def test_what_other_rules_read_as_another_number_is_refused(text):
    with pytest.raises(ValueError, match=r"leading zeros|decimal digits alone|too large|at most 18 digits"):
        read_scalar(text)


def test_quotes_and_the_text_tag_make_text():
    assert parse("{a: '010', b: \"true\", c: !!str 5}") == {"a": "010", "b": "true", "c": "5"}


def test_a_setting_that_is_text_is_read_as_written():
    text = "{revision: 1e5, other: 1e5, data: {revision: 0123456, train: null}}"
    is_text = {("revision",), ("data", "revision"), ("data", "train")}.__contains__
    assert parse(text, is_text) == {"revision": "1e5", "other": 1e5, "data": {"revision": "0123456", "train": None}}
    assert {read_scalar(text) for text in NULLS} == {None}


def test_anchors_within_bounds_are_read():
    assert parse("{a: &x [1, 2], b: *x}") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmark").glob("*/*.yaml")), ids=lambda path: path.name)
def test_shipped_files_mean_what_yaml_1_1_reads_in_them(path):
    """But for numbers such as 1e-3, which are text there, and none of which these files hold."""
    assert read_mapping(path) == yaml.safe_load(path.read_text())
