"""Claims about identity: which settings enter which digest, as each field's annotation says."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel

from antipasto_bench.core import fingerprint
from antipasto_bench.core.errors import UserError
from antipasto_bench.spec import data_and_eval
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import DataConfig, EvalConfig, RunConfig
from antipasto_bench.spec.identity import Counts, counts_of
from antipasto_bench.spec.references import PLACES
from antipasto_bench.spec.selection import rate_family
from antipasto_bench.store.record import read_record

ROOT = Path(__file__).parents[3]
DIGESTS = ("run_id", "protocol", "scoring", "arm", "cost_key")


def digests(run: RunConfig) -> dict[str, str]:
    return {name: getattr(run, name) for name in DIGESTS}


def changed(before: RunConfig, after: RunConfig) -> set[str]:
    return {name for name in DIGESTS if getattr(before, name) != getattr(after, name)}


def test_every_row_has_the_digests_that_its_config_gives(monkeypatch):
    """Of the embedded model, whose data are here; those of other models are read from files that are not."""
    tables = [ROOT / "results/table.ndjson", ROOT / "tests/bench/store/older_results/table.ndjson"]
    rows = [json.loads(line) for table in tables for line in table.read_text().splitlines()]
    of_nano = [row for row in rows if row["model"] == "nano"]
    today = data_and_eval.task_fingerprint
    # The task folders have changed since the runs of rules 1: this is what nano_metamath's fingerprint was then.
    then = {"nano_metamath": "nano_metamath@59b49067"}.__getitem__
    seen = set()
    for row in of_nano:
        run = read_record(json.dumps(row)).config  # with what the scoring rules of its time were
        seen.add(run.eval.version)
        monkeypatch.setattr(data_and_eval, "task_fingerprint", then if run.eval.version == 1 else today)
        assert {name: row[name] for name in DIGESTS[:4]} == {k: v for k, v in digests(run).items() if k != "cost_key"}
    assert seen == {1, 3}, "rows of the first rules and of today's"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"device": "cpu"}, {"cost_key"}),
        ({"device_map": "auto"}, set()),
        ({"costs": False}, set()),
        ({"checkpoint": 7}, set()),
        ({"eval.general": "none"}, set()),
        ({"eval.general_limit": 7}, set()),
        ({"seed": 3}, {"run_id"}),
        ({"lr": 0.123}, {"run_id", "arm"}),
        ({"rank": 8}, {"run_id", "arm", "cost_key"}),
        ({"steps": 7}, {"run_id", "arm", "protocol"}),
        ({"batch_size": 7}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"warmup": 0.2}, {"run_id", "arm", "protocol"}),
        ({"compile": True}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"pack": True}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"data.max_length": 100}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"data.limit": 100}, {"run_id", "arm", "protocol", "scoring", "cost_key"}),
        ({"dtype": "bfloat16"}, {"run_id", "arm", "protocol", "scoring", "cost_key"}),
        ({"eval.limit": 10}, {"run_id", "arm", "protocol", "scoring"}),
        ({"eval.backend": "static"}, {"run_id", "arm", "protocol", "scoring"}),
        ({"eval.merge_bound": 0.1}, {"run_id", "arm", "protocol", "scoring"}),
        ({"eval.revision": "main"}, {"run_id", "arm", "protocol", "scoring"}),
        ({"data.revision": "main"}, {"run_id", "arm", "protocol", "scoring", "cost_key"}),
        ({"threads": 2}, {"run_id", "arm", "protocol", "scoring", "cost_key"}),
        ({"data.calibration": 8}, {"cost_key"}),
        ({"adapter_dtype": "bfloat16"}, {"run_id", "arm", "cost_key"}),
        ({"lr_ratio": 16.0}, {"run_id", "arm"}),
        ({"loss_on": "all"}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"loss_mean": "micro-batches"}, {"run_id", "arm", "protocol"}),
        ({"schedule": "linear"}, {"run_id", "arm", "protocol"}),
        ({"data.truncate": True}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"data.max_characters": 1300}, {"run_id", "arm", "protocol", "cost_key"}),
        ({"eval.answer_limit": 10}, {"run_id", "arm", "protocol", "scoring"}),
        ({"eval.max_new_tokens": 300}, {"run_id", "arm", "protocol", "scoring"}),
    ],
)
def test_a_setting_changes_the_digests_that_it_can_matter_to_and_no_other(setting, expected):
    assert changed(compose("lora", {}, "nano"), compose("lora", setting, "nano")) == expected


def test_results_of_older_scoring_rules_are_read_and_made_no_more():
    with pytest.raises(UserError, match=r"eval\.version=1: .*write eval\.version=3"):
        compose("lora", {"eval.version": 1}, "nano")


def test_calibration_counts_where_an_adapter_looks_at_data_and_splits_no_protocol():
    before, after = (compose("eva", {"data.calibration": n}, "nano") for n in (8, 16))
    assert changed(before, after) == {"run_id", "arm", "cost_key"}


@pytest.mark.parametrize(
    ("variant", "setting"),
    [
        ("base", {"adapter_dtype": "bfloat16", "lr_ratio": 4.0, "loss_on": "all", "schedule": "constant"}),
        ("sspace", {"adapter_dtype": "bfloat16", "lr_ratio": 4.0}),
        ("ia3", {"lr_ratio": 4.0}),
    ],
)
def test_a_setting_of_training_that_a_variant_lacks_makes_no_other_run_of_it(variant, setting):
    assert compose(variant, setting, "nano").run_id == compose(variant, {}, "nano").run_id


def test_arms_of_one_variant_that_differ_in_the_dtype_of_their_parameters_choose_their_rates_apart():
    one, other, faster = (compose("lora", given, "nano") for given in ({}, {"adapter_dtype": "bfloat16"}, {"lr": 0.5}))
    assert rate_family(one.protocol, one) == rate_family(faster.protocol, faster)
    assert rate_family(one.protocol, one) != rate_family(other.protocol, other)


def test_the_untuned_model_is_one_run_however_others_are_trained():
    base = compose("base", {}, "nano")
    for setting in ({"steps": 7}, {"batch_size": 2}, {"seed": 5}, {"data.max_length": 64}, {"data.calibration": 3}):
        assert compose("base", setting, "nano").run_id == base.run_id
    assert compose("base", {"eval.limit": 5}, "nano").run_id != base.run_id


def test_a_file_enters_by_its_content_and_not_by_its_place(tmp_path):
    source = ROOT / "benchmark/data/nano/valid.jsonl"
    copy = tmp_path / "elsewhere.jsonl"
    copy.write_bytes(source.read_bytes())
    one, two = (compose("lora", {"eval.valid": str(path)}, "nano").run_id for path in (source, copy))
    assert one == two
    copy.write_bytes(source.read_bytes() + b"\n")
    assert compose("lora", {"eval.valid": str(copy)}, "nano").run_id != one


@pytest.mark.parametrize("name", ["given_answer.py", "gsm8k_metamath.yaml"])
def test_a_task_enters_by_the_code_and_the_settings_of_the_folder_that_it_includes(tmp_path, monkeypatch, name):
    shutil.copytree(ROOT / "benchmark/tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "benchmark_dir", lambda: tmp_path)
    before = {task: fingerprint.task_fingerprint(task) for task in ("nano_metamath", "gsm8k_metamath")}
    path = tmp_path / "tasks/gsm8k_metamath" / name
    path.write_text(path.read_text() + "# changed\n")
    assert all(fingerprint.task_fingerprint(task) != before[task] for task in before)


def test_no_setting_of_calibration_is_a_protocols():
    sections = (RunConfig, DataConfig, EvalConfig)
    notes = [counts_of(field) for section in sections for field in section.model_fields.values()]
    assert [note.protocol for note in notes if note.when == "calibrated"] == [False]


def test_a_field_that_says_nothing_is_part_of_every_digest():
    class Section(BaseModel):
        said: int = 0

    assert counts_of(Section.model_fields["said"]) == Counts()
    plain = [name for cls in (RunConfig, DataConfig, EvalConfig) for name, field in cls.model_fields.items()
             if counts_of(field) == Counts()]  # fmt: skip
    assert {"revision", "dtype", "quant", "split", "limit", "valid_limit"} <= set(plain)


def test_every_setting_that_can_name_a_file_is_named_where_paths_are_read():
    def places(model: type[BaseModel], start: str = "") -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                names += places(field.annotation, f"{name}.")
            elif counts_of(field).place:
                names.append(start + name)
        return names

    assert sorted(places(RunConfig)) == sorted(PLACES)
