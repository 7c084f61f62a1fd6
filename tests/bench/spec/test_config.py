"""Claims about the grammar: what a word means, what wins over what, and when two runs are the same."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.paths import benchmark_dir
from antipasto_bench.spec.compose import compose, expand, load_preset, preset_names, variant_names
from antipasto_bench.spec.grammar import parse_words


def one(words: str, preset: str = "nano"):
    variants, axes = parse_words(words.split())
    (run,) = expand(variants, axes, preset)
    return run


def many(words: str, preset: str = "nano"):
    return expand(*parse_words(words.split()), preset)


def test_words_are_variants_and_axes():
    assert parse_words(["antipasto,lora", "rotate_basis=V,none", "lr=5e-3", "targets=[q_proj,v_proj]"]) == (
        ["antipasto", "lora"],
        {"rotate_basis": ["V", "none"], "lr": [5e-3], "targets": [["q_proj", "v_proj"]]},
    )


def test_what_a_user_types_wins_over_the_preset_and_the_preset_over_the_variant():
    assert one("lora", "qwen3-0.6b").rank == 32  # the variant's own
    assert one("lora", "nano").rank == 16  # the preset's
    assert one("lora rank=4", "nano").rank == 4
    assert one("lora r=4", "nano").run_id == one("lora rank=4", "nano").run_id
    assert one("antipasto", "qwen3-0.6b").rank == 256
    assert one("antipasto", "nano").adapter["target_names"] == [".*_proj"]
    assert one("lora data.max_length=100").data.max_length == 100
    assert one("lora preset=qwen3-0.6b").model == "Qwen/Qwen3-0.6B-Base"


def test_an_axis_that_a_variant_lacks_neither_multiplies_its_runs_nor_enters_their_ids():
    runs = many("antipasto,lora rotate_basis=V,U,both,none rank=8,16 lr=1e-3,5e-3 seed=0,1,2")
    assert len(runs) == 4 * 2 * 2 * 3 + 2 * 2 * 3
    assert len({run.run_id for run in runs}) == len(runs)
    assert one("lora rotate_basis=U").run_id == one("lora").run_id
    assert len(many("base seed=0,1,2 lr=1,2 rank=4,8 rotate_basis=V,U steps=1,2")) == 1


def test_antipasto_pools_by_mean_abs_and_the_gain_cores_by_rms_unless_told():
    pools = {name: run.adapter["act_pool"] for name in variant_names() if "act_pool" in (run := one(name)).adapter}
    assert pools.pop("antipasto") == "mean_abs"
    assert set(pools.values()) == {"rms"}
    assert len(pools) == 8
    assert one("antipasto basis=wanda act_pool=rms").adapter["act_pool"] == "rms"
    assert one("antipasto_arrow").adapter["block"] == 8


def test_a_setting_that_changes_nothing_under_the_others_collapses():
    assert len(many("antipasto rotate_basis=none block_size=2,4,8 alpha=1,2 act_pool=rms,mean_abs")) == 1
    assert len(many("antipasto block_size=2,4")) == 2
    assert len(many("antipasto basis=wanda act_pool=rms,mean_abs data.calibration=8,16")) == 4
    assert len(many("lora,antipasto data.calibration=8,16")) == 2
    assert len(many("lora alpha=1,2")) == 2


def test_all_linear_is_one_setting_however_it_is_written():
    runs = many("lora targets=all-linear,[all-linear],ALL-LINEAR") + many("lora target_names=All-Linear")
    assert {run.run_id for run in runs} == {runs[0].run_id}
    assert runs[0].adapter["target_names"] == ["all-linear"]
    assert runs[0].run_id != one("lora").run_id
    with pytest.raises(UserError, match="lora: target_names: all-linear stands alone"):
        one("lora targets=[all-linear,q_proj]")


def test_a_preset_may_use_either_word_for_a_setting_and_the_user_the_other(tmp_path):
    preset = tmp_path / "mine.yaml"
    text = (benchmark_dir() / "presets" / "nano.yaml").read_text().partition("variants:")[0]
    preset.write_text(text.replace("targets:", "target_names:") + "r: 8\n")
    assert one("lora", str(preset)).rank == 8
    run = one("lora rank=4 targets=[v_proj]", str(preset))
    assert (run.rank, run.adapter["target_names"]) == (4, ["v_proj"])


def test_the_published_alias_is_the_same_variant():
    assert one("antipasto_rot").run_id == one("antipasto").run_id


def test_run_ids_read_as_designed():
    assert one("antipasto rotate_basis=both lr=2e-2 seed=2").run_id.startswith(
        "nano__antipasto__rotboth__r64__lr0.02__s300__seed2__"
    )
    assert one("lora lr=5e-4 steps=10").run_id.startswith("nano__lora__r16__lr0.0005__s10__seed0__")
    assert one("base").run_id.startswith("nano__base__")
    assert one("lora model=Qwen/Qwen3.5-0.8B-Base").run_id.startswith("Qwen3.5-0.8B-Base__lora__")


@given(st.text(min_size=1, max_size=80))
def test_an_id_is_a_safe_file_name_whatever_the_model_is_called(name):
    run = one("lora").model_copy(update={"model": f"org/{name}"})
    assert set(run.run_id) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert not run.run_id.startswith((".", "-"))
    assert len(run.run_id) < 200


@pytest.mark.parametrize(
    "change",
    ["seed=1", "lr=1e-4", "alpha=7", "steps=301", "dtype=bfloat16", "targets=[q_proj]", "layers=[0]", "grad_accum=2",
     "data.max_length=99", "data.limit=10", "eval.limit=10", "eval.tasks=gsm8k_metamath", "eval.batch_size=7",
     "eval.valid=none", "weight_decay=0.1", "model=a/b", "revision=abc", "data.train=org/other", "pack=true",
     "compile=true", "eval.batch_size=auto", "eval.backend=static"],
)  # fmt: skip
def test_whatever_can_change_the_outcome_changes_the_id(change):
    assert one(f"lora {change}").run_id != one("lora").run_id


def test_what_cannot_change_the_outcome_does_not():
    assert one("lora device=cpu").run_id == one("lora").run_id
    assert one("lora cuda_graphs=true").run_id == one("lora").run_id
    assert one("lora cuda_graphs=true").cost_key == one("lora").cost_key
    watched = one("lora checkpointing=true valid_every=50 valid_every_limit=32 track=wandb")
    assert (watched.run_id, watched.arm) == (one("lora").run_id, one("lora").arm)
    assert one("lora valid_every=50 track=wandb").cost_key == one("lora").cost_key
    assert one("lora checkpointing=true").cost_key != one("lora").cost_key
    assert one("lora pack=false compile=false eval.backend=hf").run_id == one("lora").run_id
    assert one("lora lr=5e-3").run_id == one("lora lr=0.005").run_id
    assert one(f"lora lr={one('lora').lr}").run_id == one("lora").run_id
    assert one("lora targets=.*_proj").run_id == one("lora").run_id


def test_files_are_named_by_their_content(tmp_path, monkeypatch):
    source = tmp_path / "rows.jsonl"
    source.write_text('{"query": "a", "response": "b"}\n')
    first = one(f"lora data.train={source}").run_id
    (tmp_path / "sub").mkdir()
    copy = shutil.copy(source, tmp_path / "sub" / "other_name.jsonl")
    assert one(f"lora data.train={copy}").run_id == first
    monkeypatch.chdir(tmp_path)
    assert one("lora data.train=rows.jsonl").run_id == first
    source.write_text('{"query": "a", "response": "c"}\n')
    assert one("lora data.train=rows.jsonl").run_id != first


def test_protocol_and_arm_say_what_may_share_a_table_and_a_row():
    lora, seed, rank, other = one("lora"), one("lora seed=1"), one("lora rank=8"), one("lora steps=9")
    assert lora.arm == seed.arm != rank.arm
    assert lora.protocol == rank.protocol == one("antipasto").protocol != other.protocol
    assert one("antipasto basis=wanda data.calibration=9").protocol == lora.protocol
    assert one("base").scoring == lora.scoring == other.scoring != one("lora eval.limit=5").scoring


def test_training_data_of_ones_own_bring_their_own_validation():
    assert one("lora").eval.valid.endswith("valid.jsonl")
    assert one("lora data.train=a/b").eval.valid == "holdout"
    assert one("lora data.train=a/b eval.valid=none").eval.valid == "none"


def test_every_preset_composes_with_every_variant():
    for preset in preset_names():
        assert load_preset(preset)["model"]
        for variant in variant_names():
            assert compose(variant, {}, preset).run_id


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("loar", "unknown variant 'loar'; did you mean 'lora'?"),
        ("lora rnak=3", "unknown key 'rnak'; did you mean 'rank'?"),
        ("lora lr=fast", "lr=fast: expected a number above 0"),
        ("lora lr=0", "lr=0: expected a number above 0"),
        ("lora rank=2.5", "rank=2.5: "),
        ("lora rank=0", "lora: r must be a whole number of at least 1"),
        ("antipasto rank=10", "antipasto: r=10 is not a multiple of block_size=4"),
        ("antipasto rotate_basis=W", "antipasto: rotate_basis=W: expected one of V, U, both, none"),
        ("lora targets=(", "'(' is not a valid regex"),
        ("lora preset=nanoo", "unknown preset 'nanoo'; did you mean 'nano'?"),
        ("lora dtype=float8", "dtype=float8: "),
        ("lora lr=1 lr=2", "lr is given twice"),
        ("lora =3", "cannot read '=3'"),
        ("lora steps=", "cannot read 'steps='"),
        ("lora seed=-1", "seed=-1: "),
        ("lora seed=4294967296", "seed=4294967296: "),
        ("lora max_grad_norm=.inf", "max_grad_norm=inf: "),
        ("lora alpha=.nan", "alpha=nan: "),
        ("lora rank=3 r=3", "rank and r are two words for one setting"),
    ],
)
def test_a_mistake_names_itself_and_the_nearest_right_word(words, said):
    with pytest.raises(UserError) as error:
        many(words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("antipasto_gain", {"basis": "corda"}), ("antipasto_corda", {})),
        (("antipasto_gain", {"basis": "asvd"}), ("antipasto_asvd", {})),
        (("antipasto_corda", {"basis": "svd"}), ("antipasto_gain", {})),
        (("antipasto_asvd", {"basis": "corda", "lr": 0.05}), ("antipasto_corda", {"lr": 0.05})),
        (("antipasto_ablate", {"cov_orient": True}), ("antipasto_ablate", {"basis": "corda"})),
        (("antipasto_rot", {}), ("antipasto", {})),
        (("lora_xs", {"alpha": None}), ("lora_xs", {"alpha": 32})),
        (("lora", {"alpha": None}), ("lora", {"alpha": 16})),
        (("lora", {"targets": ["v_proj", "k_proj", "v_proj"]}), ("lora", {"targets": ["k_proj", "v_proj"]})),
        (("lora", {"layers": [1, 0, 1]}), ("lora", {"layers": [0, 1]})),
        (("antipasto", {"rotate_basis": "none", "block_size": 2}), ("antipasto", {"rotate_basis": "none"})),
    ],
)
def test_one_run_said_in_two_ways_has_one_id(one, other):
    first, second = (compose(variant, given, "nano") for variant, given in (one, other))
    assert first.run_id == second.run_id
    assert first.model_dump() == second.model_dump()


def test_bases_of_one_core_stay_apart_where_they_are_not_one_computation():
    ids = {compose("antipasto_gain", {"basis": basis, "lr": 0.1}, "nano").run_id for basis in antipasto.bases.BASES}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", "a\nb"), ("model", "a\x1b[2J"), ("model", "\ud83d"), ("revision", "\udcff"), ("targets", ["q\x07"])],
)
def test_a_text_that_no_row_can_hold_in_a_line_is_refused(key, value):
    with pytest.raises(UserError, match=f"^{'target_names' if key == 'targets' else key}="):
        compose("lora", {key: value}, "nano")


def test_spaces_of_any_script_may_stand_in_a_models_name():
    assert compose("lora", {"model": "org/a\u3000b\u00a0c"}, "nano").model == "org/a\u3000b\u00a0c"
