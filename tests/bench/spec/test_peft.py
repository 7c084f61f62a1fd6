"""Claims about tuner types of PEFT as variants, by their settings alone."""

import dataclasses
import json
import subprocess
import sys

import pytest
from peft_arms import EXPERIMENTS

from antipasto_bench.core.errors import UserError
from antipasto_bench.spec.compose import compose, expand
from antipasto_bench.spec.config import RunConfig
from antipasto_bench.spec.grammar import parse_words
from antipasto_bench.spec.keys import run_keys
from antipasto_bench.spec.methods import peft_settings
from antipasto_bench.spec.methods.peft_types import REFUSED, TYPES
from antipasto_bench.spec.words import words_of
from antipasto_bench.store.record import RunRecord

pytest.importorskip("peft")


def adapter(variant, **given):
    return compose(variant, given, "nano").adapter


def test_every_tuner_type_that_peft_registers_is_an_arm_or_is_refused_with_a_reason():
    assert peft_settings.config_classes("peft").keys() - {"xlora"} == TYPES.keys()
    for kind in TYPES:
        if kind in REFUSED:
            with pytest.raises(UserError, match=f"^peft:{kind} cannot be an arm"):
                compose(f"peft:{kind}", {}, "nano")
            continue
        run = compose(f"peft:{kind}", {}, "nano")
        assert json.loads(json.dumps(run.adapter)) == run.adapter
        assert run.method.canonical(run.adapter) == (run.variant, run.adapter)
        assert expand(*parse_words(words_of(run))) == [run]
        assert run.run_id.startswith(f"nano__peft-{kind}__")
        assert RunRecord.of(run, run.run_id).variant == f"peft:{kind}"


def test_a_field_with_the_name_of_a_runs_setting_is_typed_with_a_prefix():
    collisions = set()
    for kind, cls in peft_settings.config_classes("peft").items():
        names = {field.name for field in dataclasses.fields(cls)} - peft_settings.NOT_SETTINGS
        names -= peft_settings.OF_THE_RUN.get(kind, {}).keys()
        collisions |= names & (run_keys().keys() | RunConfig.model_fields.keys())
    assert collisions == peft_settings.TAKEN
    assert adapter("peft:road", **{"peft.variant": "road_2"})["peft.variant"] == "road_2"


def test_words_of_the_grammar_are_pefts_fields():
    lora = adapter("peft:lora", rank=4, alpha=8, targets=["v_proj", "q_proj"], exclude=["lm_head"], layers=[1])
    expected = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "exclude_modules": ["lm_head"]}
    assert expected.items() <= lora.items()
    assert lora["layers_to_transform"] == [1]
    assert adapter("peft:adalora", rank=4)["target_r"] == 4
    assert adapter("peft:oft", rank=4)["oft_block_size"] == 0
    assert adapter("peft:lora", targets="all-linear")["target_modules"] == "all-linear"


def test_the_layers_that_a_preset_names_are_those_of_every_tuner_that_can_be_at_any(tmp_path):
    """A sweep of lora and peft:lora compares equal layers."""
    projections = r"(?:.*\.)?(?:.*_proj)"
    own = {"adaption_prompt": None, "beft": ["v_proj"], "ia3": ["down_proj", "k_proj", "v_proj"], "ln_tuning": None}
    own["lily"] = sorted(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))
    for kind in TYPES.keys() - REFUSED.keys():
        values = adapter(f"peft:{kind}")
        if "target_modules" in values and kind != "trainable_tokens":
            assert values["target_modules"] == own.get(kind, projections), kind
    assert adapter("peft:lora", targets=["q_proj"])["target_modules"] == ["q_proj"]
    assert adapter("peft:lora", target_modules=["q_proj"])["target_modules"] == ["q_proj"]
    assert adapter("peft:lora", layers_to_transform=[1])["target_modules"] == (
        rf"(?:[^.]*[^.0-9][^.]*\.)*(?:1)\.{projections}"
    )
    folder = tmp_path / "as-published"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "target_modules": None}))
    (run,) = expand(*parse_words([f"peft={folder}"]))
    assert run.adapter["target_modules"] is None, "PEFT's own for the model's type"
    assert expand(*parse_words(words_of(run))) == [run]


@pytest.mark.parametrize(("layers", "count"), [(None, 28), ([1, 3], 14)])
def test_our_patterns_name_the_same_layers_to_peft(layers, count, model):
    from peft.tuners.tuners_utils import check_target_module_exists

    import antipasto

    given = {"targets": [".*_proj"]} | ({} if layers is None else {"layers": layers})
    config = peft_settings.make_config("lora", adapter("peft:lora", **given))
    ours = antipasto.find_targets(model, compose("lora", given, "nano").adapter_config)
    theirs = [name for name, _ in model.named_modules() if check_target_module_exists(config, name)]
    assert theirs == list(ours)
    assert len(theirs) == count


@pytest.mark.parametrize(
    ("variant", "given", "message"),
    [
        ("peft:vear", {}, "unknown variant 'peft:vear'; did you mean 'peft:vera'"),
        ("peft:lora", {"lora_alhpa": 3}, "unknown key 'lora_alhpa'; did you mean 'lora_alpha'"),
        ("peft:lora", {"use_dora": 3}, "peft:lora: use_dora=3: expected true or false"),
        ("peft:adalora", {"tinit": 200, "tfinal": 150}, "don't allow for a budgeting phase"),
        ("peft:vera", {"optimizer": "lora-fa"}, "optimizer=lora-fa is made for peft:lora"),
        ("lora", {"optimizer": "riemannian"}, "optimizer=riemannian is made for peft:lora"),
        ("peft:prompt_tuning", {"pack": True}, "write pack=false"),
        ("peft:lora", {"init_lora_weights": "eva"}, "PEFT makes it from data in a way that no run has"),
        ("peft:adalora", {"rank": 4, "target_r": 4}, "are two words for one setting"),
        ("peft:trainable_tokens", {"token_indices": []}, "write token_indices=[1,2]"),
    ],
)
def test_a_mistake_is_one_line(variant, given, message):
    with pytest.raises(UserError) as raised:
        compose(variant, given, "nano")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_is_an_arm_with_its_training_and_what_is_typed_wins(tmp_path):
    folder = tmp_path / "experiments" / "lora" / "one"
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "no_field": None}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "x"}))
    training = {"optimizer_type": "riemannian", "optimizer_kwargs": {"lr": 3e-4, "reg": 0.1}, "max_steps": 5000}
    (folder / "training_params.json").write_text(json.dumps(training))
    (run,) = expand(*parse_words([f"peft={tmp_path}/experiments/*/*"]))
    assert (run.variant, run.lr, run.weight_decay, run.optimizer, run.optimizer_reg) == (
        "peft:lora", 3e-4, 0.1, "riemannian", 0.1,
    )  # fmt: skip
    assert run.steps == 300, "the protocol is the preset's"
    assert str(tmp_path) not in run.model_dump_json()
    (typed,) = expand(*parse_words([f"peft={folder}", "rank=2", "lr=1e-2"]))
    assert (typed.rank, typed.lr, typed.adapter["lora_alpha"]) == (2, 1e-2, 8)
    with pytest.raises(UserError, match="no such folder"):
        expand(*parse_words([f"peft={tmp_path}/none"]))


@pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="the published experiments are not on this machine")
@pytest.mark.filterwarnings("ignore:peft=")
def test_the_published_experiments_are_a_plan_of_seventy_one_runs(tmp_path, monkeypatch):
    """As docs/peft.md types it, beside a clone of PEFT."""
    clone = tmp_path / "peft/method_comparison/MetaMathQA"
    clone.mkdir(parents=True)
    (clone / "experiments").symlink_to(EXPERIMENTS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = ["sweep", "peft=../peft/method_comparison/MetaMathQA/experiments/*/*"]
    runs = expand(*parse_words(words[1:]))
    assert len({run.run_id for run in runs}) == len(runs) == 71
    assert [run.variant for run in runs if not run.variant.startswith("peft:")] == ["full"]


def test_a_recorded_run_is_read_without_peft():
    run = compose("peft:adalora", {"rank": 4}, "nano")
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from antipasto_bench.spec.config import RunConfig\n"
        "run = RunConfig.model_validate_json(sys.stdin.read())\n"
        "from antipasto_bench.store.record import RunRecord\n"
        "print(run.run_id, run.rank, run.trains, run.calibrates, RunRecord.of(run, run.run_id).variant)\n"
        "from antipasto_bench.spec.compose import compose\n"
        "try: compose('peft:lora', {}, 'nano')\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=run.model_dump_json(), capture_output=True, text=True, check=True
    )
    read, refused = done.stdout.splitlines()
    assert read == f"{run.run_id} 4 True False peft:adalora"
    assert refused.startswith("peft:lora needs PEFT; install it with:")
