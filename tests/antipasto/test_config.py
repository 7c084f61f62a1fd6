"""Claims about how a config is written: PEFT's words are this library's under another name, and a mistake is one clear
error."""

import copy
import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch
from tiny_model import ALL, NEEDED, Tiny, attach, configs
from torch import nn

import antipasto
from antipasto import CONFIGS, AdapterConfig, AdapterError, LoRAConfig
from antipasto.bases import BASES, BasisName
from antipasto.config import PEFT_WORDS

GIVEN = {
    "target_modules": ["q_proj", "v_proj"],
    "exclude_modules": ["lm_head", "3.q_proj"],
    "layers_to_transform": [0, 2],
}
OWN = {PEFT_WORDS[word]: value for word, value in GIVEN.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_pefts_words_make_the_same_config_by_keyword_and_from_a_dict(name):
    ours = CONFIGS[name](**OWN, **NEEDED.get(name, {}))
    assert CONFIGS[name](**GIVEN, **NEEDED.get(name, {})) == ours
    assert AdapterConfig.from_dict({"variant": name, **GIVEN, **NEEDED.get(name, {})}) == ours
    assert ours.target_modules == ours.target_names == ("q_proj", "v_proj")
    assert ours.exclude_modules == ours.exclude_names == ("lm_head", "3.q_proj")
    assert ours.layers_to_transform == ours.layers == (0, 2)


def test_saved_configs_hold_each_field_once_under_its_own_name():
    fields = {"variant", "r", "alpha", "target_names", "layers", "exclude_names"}
    assert LoRAConfig(**GIVEN).to_dict().keys() == fields
    assert {field.name for field in dataclasses.fields(LoRAConfig)} == fields - {"variant"}


def test_a_config_in_pefts_words_is_copied_replaced_and_pickled_as_any_other():
    cfg = LoRAConfig(**GIVEN)
    assert copy.deepcopy(cfg) == pickle.loads(pickle.dumps(cfg)) == cfg
    assert dataclasses.replace(cfg, r=3) == LoRAConfig(r=3, **OWN)
    assert dataclasses.replace(cfg, target_names=["o_proj"]).target_modules == ("o_proj",)


def test_pefts_words_choose_the_layers():
    blocks = nn.ModuleList(nn.ModuleDict({"q_proj": nn.Linear(8, 8), "v_proj": nn.Linear(8, 8)}) for _ in range(3))
    model = nn.ModuleDict({"layers": blocks})
    cfg = LoRAConfig(
        r=2, target_modules=["q_proj", "v_proj"], layers_to_transform=[0, 2], exclude_modules=[r"layers\.0\.v_proj"]
    )
    antipasto.attach(model, cfg)
    targets = ["layers.0.q_proj", "layers.2.q_proj", "layers.2.v_proj"]
    assert list(antipasto.trainable_parameters(model)) == [f"{t}.lora_{p}" for t in targets for p in "AB"]


@pytest.mark.parametrize("make", [LoRAConfig, lambda **given: AdapterConfig.from_dict({"variant": "lora", **given})])
@pytest.mark.parametrize("word", PEFT_WORDS)
def test_both_words_for_one_field_are_one_clear_error_even_where_they_agree(make, word):
    own = PEFT_WORDS[word]
    default = next(field.default for field in dataclasses.fields(LoRAConfig) if field.name == own)
    with pytest.raises(AdapterError, match=f"{own} and {word} are two words for one setting; give one of them"):
        make(**{word: GIVEN[word], own: default})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_modules": "q_proj"}, r"target_modules must be a list, got 'q_proj'; write \['q_proj'\]"),
        ({"exclude_modules": "all-linear"}, r"exclude_modules must be a list, got 'all-linear'"),
        ({"layers": []}, "layers is empty; name at least one"),
        ({"exclude_modules": "lm_head"}, r"exclude_modules must be a list, got 'lm_head'"),
        ({"exclude_modules": None}, "exclude_modules must be a list, got None; leave it out"),
        ({"target_names": None}, "target_names must be a list, got None; leave it out"),
        ({"layers_to_transform": 3}, r"layers_to_transform must be a list, got 3; write \[3\]"),
        ({"layers": 3}, r"layers must be a list, got 3; write \[3\]"),
    ],
)
def test_one_name_in_place_of_a_list_is_named_by_the_word_that_was_written(given, message):
    with pytest.raises(AdapterError, match=message):
        LoRAConfig(**given)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rotate_basis", "W", "rotate_basis must be one of V, U, both, none; got 'W'"),
        ("basis", "svdd", "basis must be one of svd, wanda, asvd, corda; got 'svdd'"),
        ("act_pool", "max", "act_pool must be one of rms, mean_abs; got 'max'"),
        ("basis", ["svd"], r"basis must be one of svd, wanda, asvd, corda; got \['svd'\]"),
    ],
)
def test_a_word_that_is_no_choice_is_refused_with_the_choices(field, value, message):
    with pytest.raises(AdapterError, match=message):
        antipasto.AntiPaSTOConfig(**{field: value})


def test_a_road_variant_that_is_no_choice_is_refused_with_the_choices():
    with pytest.raises(AdapterError, match="road_variant must be one of road_1, road_2, road_4; got 'road_3'"):
        antipasto.RoadConfig(road_variant="road_3")


def test_the_bases_that_a_config_accepts_are_those_that_exist():
    assert typing.get_args(BasisName) == tuple(BASES)


def test_every_field_of_every_config_has_a_type_that_can_be_read_at_run_time():
    for cls in CONFIGS.values():
        hints = typing.get_type_hints(cls)
        assert {field.name for field in dataclasses.fields(cls)} <= hints.keys()
        assert not PEFT_WORDS.keys() & hints.keys()


def test_count_parameters_is_from_shapes_alone():
    with torch.device("meta"):
        assert antipasto.count_parameters(LoRAConfig(r=4), 20, 28) == 4 * (20 + 28)


@pytest.mark.parametrize("cfg", configs(), ids=lambda cfg: cfg.variant)
def test_what_a_config_says_without_torch_is_what_its_variant_does(cfg):
    variant = antipasto.REGISTRY[cfg.variant]
    specs = variant.param_specs(64, 64, cfg)
    assert cfg.needs_data() == (variant.calibrator(cfg) is not None)
    assert cfg.factors == all(name in specs and specs[name].trained for name in ("lora_A", "lora_B"))
    assert cfg.trains == any(spec.trained for spec in specs.values())


def test_a_config_that_hides_its_calibrator_or_its_factors_is_refused_with_what_to_write(monkeypatch):
    monkeypatch.setattr(antipasto.EVAConfig, "needs_data", lambda self: False)
    with pytest.raises(AdapterError, match="eva has a calibrator, and needs_data of its config says False"):
        attach(Tiny(), antipasto.EVAConfig(r=4, target_names=ALL))
    monkeypatch.setattr(antipasto.LoRAConfig, "factors", False)
    with pytest.raises(AdapterError, match=r"lora trains lora_A and lora_B: write `factors: ClassVar\[bool\] = True`"):
        attach(Tiny(), antipasto.LoRAConfig(r=4, target_names=ALL))


NEW_FILE = """
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..config import AdapterConfig, register_config
from ..variant import register
from .lora import LoRA


@register_config
@dataclass(frozen=True, kw_only=True)
class BoundedConfig(AdapterConfig):
    variant: ClassVar[str] = "bounded"
    factors: ClassVar[bool] = True


@register
class Bounded(LoRA):
    config = BoundedConfig
"""


def test_settings_are_had_without_torch_unless_a_new_file_says_them_itself(tmp_path):
    package = tmp_path / "antipasto"
    shutil.copytree(Path(antipasto.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def known():
        code = "import sys, antipasto; print(len(antipasto.CONFIGS), 'torch' in sys.modules, *antipasto.CONFIGS)"
        command = [sys.executable, "-P", "-c", code]
        return subprocess.check_output(command, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}).split()

    count, torch_is_imported, *names = known()
    assert (int(count), torch_is_imported, sorted(names)) == (len(CONFIGS), "False", sorted(CONFIGS))
    (package / "variants" / "bounded.py").write_text(NEW_FILE)
    count, torch_is_imported, *names = known()
    assert (int(count), torch_is_imported, sorted(names)) == (len(CONFIGS) + 1, "True", sorted([*CONFIGS, "bounded"]))
