"""Claims about presets and sweep files: whatever is in them has an effect, or is refused in one line."""

import pytest
from hostile_yaml import HOSTILE_PRESETS, HOSTILE_YAML
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antipasto_bench.core.errors import UserError
from antipasto_bench.spec import presets
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.config import BASE
from antipasto_bench.spec.keys import known_keys, lacks, refuse_keys_without_effect, variant_names
from antipasto_bench.spec.sweep import read_sweep

MINIMAL = "model: nano\nsteps: 3\nbatch_size: 2\ndata: {train: x}\neval: {tasks: [nano_metamath]}\n"
KEYS = ["steps", "seed", "lr", "rank", "data", "eval", "variants", "model", "lora", "default", "dtype", "x", "revision"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


def message_of(work, *arguments) -> str:
    """What is said where it is refused, else nothing."""
    try:
        work(*arguments)
    except UserError as error:
        return str(error)
    return ""


def refusal(work, *arguments) -> str:
    with pytest.raises(UserError) as error:
        work(*arguments)
    assert len(str(error.value).splitlines()) == 1
    assert "constrained" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_no_hostile_yaml_is_a_preset_or_a_sweep(tmp_path, name):
    content, said = HOSTILE_YAML[name]
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    for work, arguments in ((compose, ("lora", {}, str(path))), (read_sweep, (path,))):
        message = refusal(work, *arguments)
        assert str(path) in message
        assert said in message or (work is read_sweep and said == "unknown key")


@pytest.mark.parametrize("name", HOSTILE_PRESETS)
def test_what_would_have_no_effect_in_a_preset_is_refused(tmp_path, name):
    lines, said = HOSTILE_PRESETS[name]
    replaced = {line.partition(":")[0] for line in lines.splitlines()}
    kept = [line for line in MINIMAL.splitlines() if line.partition(":")[0] not in replaced]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join([*kept, lines]))
    message = refusal(compose, "lora", {}, str(path))
    assert said in message
    assert str(path) in message


def test_defaults_of_variants_are_held_to_the_same(tmp_path, monkeypatch):
    (tmp_path / "variants.yaml").write_text("lorra: {rank: 3}\n")
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/nano.yaml").write_text(MINIMAL)
    monkeypatch.setattr(presets, "benchmark_dir", lambda: tmp_path)
    assert "variants.yaml: lorra: unknown variant 'lorra'; did you mean 'lora'?" in refusal(compose, "lora", {}, "nano")


def test_text_in_a_preset_is_text_as_written(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL + "revision: 1e5\nvariants: {lora: {data.revision: 0123456}}\n")
    run = compose("lora", {}, str(path))
    assert (run.revision, run.data.revision) == ("1e5", "0123456")


def test_a_key_of_a_preset_that_another_variant_has_is_left_to_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL + "rotate_basis: U\n")
    assert compose("antipasto", {}, str(path)).adapter["rotate_basis"] == "U"
    assert "rotate_basis" not in compose("lora", {}, str(path)).adapter


def test_the_more_special_block_wins_whichever_word_it_uses(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL + "variants: {lora: {rank: 4}, default: {r: 8}}\n")
    assert (compose("lora", {}, str(path)).rank, compose("dora", {}, str(path)).rank) == (4, 8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_any_mapping_is_a_preset_or_one_line(tmp_path, values):
    import yaml

    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    assert "\n" not in message_of(compose, "lora", {}, str(path))
    message = message_of(read_sweep, path)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs: lora", "expected `runs:` with a list"),
        ("runs: [1]", "expected `runs:` with a list"),
        ("runs: [lora]\nchoose: [lr]", 'choose=["lr"]: only lr can be chosen'),
        ("runs: [lora]\npreset: [nano]", "preset: expected one name"),
        ("runs: [lora seed=010]", "'lora seed=010': seed=010: a whole number has no leading zeros"),
        ("runs: [lorra]", "'lorra': unknown variant 'lorra'; did you mean 'lora'?"),
        ("runs: [rank=3]", "'rank=3': names no variant"),
        ("rnus: [lora]\nruns: [lora]", "unknown key 'rnus'; did you mean 'runs'?"),
    ],
)
def test_a_mistake_in_a_sweep_file_names_the_file_and_the_line(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = refusal(read_sweep, path)
    assert said in message
    assert message.startswith(f"{path}: ")


WRONG = [True, -1, 2.5, float("nan"), "x", [1], {"a": 1}, None, "é\n"]
PAIRS = (("rank", "r"), ("targets", "target_names"), ("exclude", "exclude_names"))
OTHER_WORDS = dict(PAIRS) | {name: word for word, name in PAIRS}


@pytest.mark.long
@pytest.mark.parametrize("key", sorted(known_keys().keys() - {"preset"}))
def test_a_value_that_does_not_fit_is_told_by_its_key_in_words(key):
    """Each key with values of every type, of the first variant that has it."""
    variant = next(name for name in variant_names() if name != "base" and not lacks(name, key))
    messages = [message for value in WRONG if (message := message_of(compose, variant, {key: value}, "nano"))]
    assert messages
    for message in messages:
        assert key in message or OTHER_WORDS[key] in message
        for wording in ("constrained", "nput should", "pydantic", "validation error", "\n"):
            assert wording not in message


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("eval.batch_size", 0, "eval.batch_size=0: expected a whole number of at least 1, or auto"),
        ("eval.batch_size", "some", "eval.batch_size=some: expected a whole number of at least 1, or auto"),
        ("seed", True, "seed=true: expected a whole number of at least 0 and below 4294967296"),
        ("seed", 1.0, "seed=1.0: expected a whole number"),
        ("seed", "1", "seed=1: expected a whole number"),
        ("costs", 1, "costs=1: expected true or false"),
        ("compile", "yes", "compile=yes: expected true or false"),
        ("warmup", 1, "warmup=1: expected a number of at least 0 and below 1"),
        ("eval.tasks", 5, "eval.tasks=5: expected a list of texts"),
        ("eval.merge_bound", -1, "eval.merge_bound=-1: expected a number of at least 0, or null"),
        ("data.limit", 0, "data.limit=0: expected a whole number of at least 1, or null"),
        ("data.overlap", "no", "data.overlap=no: expected one of refuse, drop, refuse-copies, allow"),
        ("model", None, "model=null: expected text"),
        ("rank", True, "lora: rank=true: expected a whole number, or null"),
        ("alpha", "x", "lora: alpha=x: expected a number, or null"),
        ("layers", [True], "lora: layers=[true]: expected a list of whole numbers, or null"),
        ("targets", 5, "lora: targets=[5]: expected a list of texts"),
    ],
)
def test_what_may_stand_there_is_said_in_words(key, value, said):
    assert refusal(compose, "lora", {key: value}, "nano").startswith(said)


@pytest.mark.parametrize(
    ("variants", "key", "said"),
    [
        (["lora"], "rotate_basis", "lora has no setting 'rotate_basis'; leave out rotate_basis="),
        (["lora", "dora"], "block_size", "lora and dora have no setting 'block_size'"),
        (["base"], "rank", "base has no setting 'rank'"),
        (["base"], "lr", "base has no setting 'lr'"),
        (["sspace"], "adapter_dtype", "sspace has no setting 'adapter_dtype'"),
        (
            ["ia3", "road"],
            "lr_ratio",
            "ia3 and road have no factors A and B; leave out lr_ratio=, which is for "
            "antipasto_dplr, delora, dora, eva, lora, pissa",
        ),
    ],
)
def test_a_key_that_no_named_variant_has_is_refused(variants, key, said):
    assert said in refusal(refuse_keys_without_effect, variants, [key])


def test_keys_that_a_named_variant_has_are_not_refused():
    refuse_keys_without_effect(["lora", "antipasto_rot"], ["rotate_basis", "rank", "steps", "eval.limit", "lr"])
    refuse_keys_without_effect(["base"], ["steps", "data.max_length", "model", "preset"])


@pytest.mark.parametrize("preset", presets.preset_names())
def test_numbers_that_are_read_without_the_variants_classes_are_those_of_a_composed_run(preset):
    for variant in set(variant_names()) - {BASE}:
        run = compose(variant, {}, preset)
        frozen = "basis" in run.adapter
        assert frozen == run.method.frozen_basis
        given = presets.given_by_files(variant, preset, frozen_basis=frozen)
        numbers = {"steps": run.steps, "data.max_length": run.data.max_length}
        numbers |= {"lr": run.lr} if run.trains else {}
        numbers |= {} if run.rank is None else {"r": run.rank}
        for key, value in numbers.items():
            assert presets.adapter_default(key, given) == value, (variant, key)


def test_what_files_give_a_variant_is_given_as_it_stands_there(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "steps: 3\ncosts: true\nvariants: {default: [1], lora: {rank: full, lr: 2}, antipasto_rot: {rank: 8}}\n"
    )
    wanted = {
        ("steps", "lora"): 3,
        ("costs", "lora"): True,
        ("r", "lora"): "full",
        ("lr", "lora"): 2,
        ("r", "antipasto"): 8,
    }
    for (key, variant), value in wanted.items():
        given = presets.given_by_files(variant, str(path), frozen_basis=variant != "lora")
        assert presets.adapter_default(key, given) == value
    path.write_text("variants: {lora: {basis: corda, rank: 8}}\n")
    assert presets.adapter_default("r", presets.given_by_files("lora", str(path), frozen_basis=False)) is None
    assert "unknown preset" in refusal(lambda: presets.given_by_files("lora", "nanno", frozen_basis=False))
