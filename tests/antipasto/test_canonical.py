"""Claims about the canonical config: one for each computation, and the same computation as every other spelling."""

import dataclasses
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import ALL, NEEDED, Tiny, attach, configs, name_of, randomise

import antipasto
from antipasto import (
    CONFIGS,
    AdapterConfig,
    AntiPaSTOAblateConfig,
    AntiPaSTOArrowConfig,
    AntiPaSTOASVDConfig,
    AntiPaSTOConfig,
    AntiPaSTOCorDAConfig,
    AntiPaSTOGainConfig,
    FrozenBasisConfig,
    IA3Config,
    LoRAConfig,
    LoRAXSConfig,
    PiSSAConfig,
    SSpaceConfig,
)

# Spellings of one computation; the first is the canonical one.
SPELLINGS = {
    "gain on corda": [
        AntiPaSTOCorDAConfig(),
        AntiPaSTOGainConfig(basis="corda"),
        AntiPaSTOASVDConfig(basis="corda", alpha=3.0, act_pool="mean_abs"),
    ],
    "gain on asvd": [
        AntiPaSTOASVDConfig(cov_eps=0.1),
        AntiPaSTOGainConfig(basis="asvd", cov_eps=0.1),
        AntiPaSTOCorDAConfig(basis="asvd", cov_eps=0.1, alpha=None),
    ],
    "gain on svd": [
        AntiPaSTOGainConfig(),
        AntiPaSTOCorDAConfig(basis="svd", cov_eps=0.1),
        AntiPaSTOASVDConfig(basis="svd", act_pool="mean_abs"),
    ],
    "gain on wanda": [
        AntiPaSTOGainConfig(basis="wanda", act_pool="mean_abs"),
        AntiPaSTOCorDAConfig(basis="wanda", act_pool="mean_abs", cov_eps=0.1),
        AntiPaSTOASVDConfig(basis="wanda", act_pool="mean_abs"),
    ],
    "arrow is no gain": [AntiPaSTOArrowConfig(basis="corda"), AntiPaSTOArrowConfig(basis="corda", alpha=1.0)],
    "ablate on corda": [
        AntiPaSTOAblateConfig(basis="corda"),
        AntiPaSTOAblateConfig(cov_orient=True),
        AntiPaSTOAblateConfig(basis="corda", cov_orient=True, act_pool="mean_abs"),
    ],
    "a scale of 1": [LoRAConfig(r=16, alpha=16.0), LoRAConfig(r=16, alpha=None), LoRAConfig(r=16, alpha=16)],
    "a scale of 1, in the family": [LoRAXSConfig(r=8, alpha=8.0), LoRAXSConfig(r=8), LoRAXSConfig(r=8, cov_eps=1.0)],
    "a scale that is not used": [PiSSAConfig(alpha=64.0), PiSSAConfig(alpha=None), PiSSAConfig(alpha=1)],
    "a push, not a scale": [SSpaceConfig(alpha=2.0), SSpaceConfig(alpha=2)],
    "a rank that is not used": [IA3Config(r=32), IA3Config(r=7, alpha=None)],
    "no rotation": [
        AntiPaSTOConfig(rotate_basis="none"),
        AntiPaSTOConfig(rotate_basis="none", block_size=7, max_rotation_angle=1.0),
    ],
    "a whole number": [AntiPaSTOConfig(max_rotation_angle=1.0), AntiPaSTOConfig(max_rotation_angle=1)],
    "layers": [LoRAConfig(layers=(0, 1)), LoRAConfig(layers=[1, 1, 0])],
    "names": [
        LoRAConfig(target_names=("k_proj", "q_proj"), exclude_names=("a", "b")),
        LoRAConfig(target_names=("q_proj", "k_proj", "q_proj"), exclude_names=("b", "b", "a")),
    ],
}


@pytest.mark.parametrize("meaning", SPELLINGS)
def test_every_spelling_of_one_computation_has_one_canonical_config(meaning):
    first, *others = SPELLINGS[meaning]
    assert others, "a spelling alone claims nothing"
    for cfg in (first, *others):
        canonical = cfg.canonical()
        assert type(canonical) is type(first)
        assert repr(canonical) == repr(first), "also where two values are equal and written in two ways: 16 and 16.0"


DIFFERENT = [
    (AntiPaSTOGainConfig(), AntiPaSTOCorDAConfig()),
    (AntiPaSTOGainConfig(basis="wanda"), AntiPaSTOGainConfig(basis="wanda", act_pool="mean_abs")),
    (AntiPaSTOCorDAConfig(), AntiPaSTOCorDAConfig(cov_eps=0.1)),
    (AntiPaSTOArrowConfig(basis="corda"), AntiPaSTOCorDAConfig()),
    (LoRAConfig(r=16, alpha=None), LoRAConfig(r=16, alpha=32.0)),
    (AntiPaSTOAblateConfig(), AntiPaSTOAblateConfig(allow_amplify=True)),
    (LoRAConfig(layers=None), LoRAConfig(layers=[0])),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=[name_of(other) for _, other in DIFFERENT])
def test_configs_of_two_meanings_keep_two_canonical_configs(one, other):
    assert one.canonical() != other.canonical()


COMMITTED = [  # what the benchmark's table holds: variant, r, alpha, names, and what else is not the class's default
    *(("antipasto", r, 64.0, ".*_proj", {}) for r in (8, 16, 32, 64)),
    *(("antipasto", 64, 64.0, ".*_proj", {"rotate_basis": way}) for way in ("V", "U", "both", "none")),
    ("antipasto_ablate", 64, 64.0, ".*_proj", {}),
    ("antipasto_arrow", 64, 64.0, ".*_proj", {"block": 16}),
    ("antipasto_asvd", 64, 64.0, ".*_proj", {}),
    ("antipasto_corda", 64, 64.0, ".*_proj", {}),
    ("antipasto_dplr", 64, 64.0, ".*_proj", {"lora_rank": 8}),
    ("antipasto_gain", 64, 64.0, ".*_proj", {}),
    ("delora", 16, 64.0, ".*_proj", {"lambda0": 0.1}),
    ("delta_s", None, 64.0, ".*_proj", {}),
    ("dora", 16, 32.0, ".*_proj", {}),
    ("eva", 16, 32.0, ".*_proj", {}),
    ("hra", 16, 64.0, ".*_proj", {}),
    ("ia3", 32, 64.0, "k_proj v_proj", {}),
    ("ia3_ff", 32, 64.0, "down_proj", {}),
    *(("lora", r, 32.0, ".*_proj", {}) for r in (4, 16, 64)),
    *(("lora_xs", r, 32.0, ".*_proj", {}) for r in (8, 16, 32, 64)),
    ("pissa", 16, 64.0, ".*_proj", {}),
    *(("road", 32, 64.0, ".*_proj", {"road_variant": f"road_{n}"}) for n in (1, 2, 4)),
    ("sspace", None, 1.0, "down_proj o_proj", {}),
]


@pytest.mark.parametrize(("variant", "r", "alpha", "names", "others"), COMMITTED)
def test_configs_of_committed_results_are_canonical_as_they_are(variant, r, alpha, names, others):
    values = {"variant": variant, "r": r, "alpha": alpha, "target_names": names.split(), "layers": None} | others
    cfg = AdapterConfig.from_dict(values)
    assert cfg.canonical().to_dict() == cfg.to_dict()
    assert repr(cfg.canonical()) == repr(cfg)


def respelled(cfg: AdapterConfig, source: random.Random) -> AdapterConfig:
    """Another spelling of a config: other values of unused fields, another member of the gain family, and so on."""
    unused = cfg.unused_fields()
    values = cfg.to_dict()
    others = {
        "alpha": [None, 1.0, 5],
        "act_pool": ["rms", "mean_abs"],
        "cov_eps": [1e-3, 1, 0.5],
        "r": [1, 6, 10],
        "block_size": [2, 5],
        "max_rotation_angle": [0.1, 1],
        "cov_orient": [cfg.to_dict().get("basis") == "corda", False],
    }
    for name in unused:
        values[name] = source.choice(others.get(name, [values[name]]))
    if "alpha" not in unused and values["alpha"] == values["r"]:
        values["alpha"] = source.choice([None, cfg.r])
    values["target_names"] = source.sample(values["target_names"] * 2, 2 * len(values["target_names"]))
    values["exclude_names"] = source.sample(values["exclude_names"] * 2, 2 * len(values["exclude_names"]))
    gains = ("antipasto_gain", "antipasto_asvd", "antipasto_corda")
    if cfg.variant in gains:
        values["variant"] = source.choice(gains)
    return AdapterConfig.from_dict(values)


def with_every_basis() -> list[AdapterConfig]:
    """Each config of tiny_model on each basis, and with a scale of 1."""
    family = [cfg for cfg in configs() if isinstance(cfg, FrozenBasisConfig) and not getattr(cfg, "cov_orient", False)]
    on_bases = [dataclasses.replace(cfg, basis=basis) for cfg in family for basis in ("svd", "wanda", "asvd", "corda")]
    return [*configs(), *on_bases, LoRAConfig(r=8, alpha=8.0, target_names=ALL)]


@settings(max_examples=200)
@given(cfg=st.sampled_from(with_every_basis()), seed=st.integers(0, 999))
def test_canonical_is_idempotent_and_the_same_for_every_respelling(cfg, seed):
    canonical = cfg.canonical()
    assert repr(canonical.canonical()) == repr(canonical)
    assert AdapterConfig.from_dict(canonical.to_dict()) == canonical
    other = respelled(cfg, random.Random(seed))
    assert repr(other.canonical()) == repr(canonical)


def everything_that_it_computes(cfg: AdapterConfig, seed: int) -> dict[str, torch.Tensor]:
    """Tensors right after attach, outputs and trained tensors over two training steps, and what a file would hold."""
    torch.manual_seed(seed)
    model, x = Tiny(), torch.randn(6, 20)
    attach(model, cfg, seed)
    computed = {f"start {name}": tensor.clone() for name, tensor in model.state_dict().items()}
    trained = antipasto.trainable_parameters(model)
    if trained:
        optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
        for step in range(2):
            y = model(x)
            computed[f"output {step}"] = y.detach()
            (y - 1).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        randomise(model, seed=seed)
    computed["output"] = model(x).detach()
    state = antipasto.attachment(model)
    for name, layer in state.targets.items():
        saved = state.variant.tensors_to_save(layer, state.cfg)
        computed |= {f"file {name}.{key}": tensor.clone() for key, tensor in saved.items()}
    return computed


@settings(max_examples=60)
@given(cfg=st.sampled_from(with_every_basis()), seed=st.integers(0, 99))
def test_the_canonical_config_computes_and_saves_the_same_bit_for_bit(cfg, seed):
    spelled = respelled(cfg, random.Random(seed))
    ours, theirs = (everything_that_it_computes(c, seed) for c in (spelled, spelled.canonical()))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_order_of_target_names_changes_nothing(name):
    """Targets are attached in the model's order: so it is safe that `canonical` sorts their names."""
    states = []
    for names in (["lin1", "lin2"], ["lin2", "lin1"], ["lin2", "lin1", "lin2"]):
        torch.manual_seed(0)
        model = attach(Tiny(), CONFIGS[name](**{"r": 8, "target_names": names} | NEEDED.get(name, {})))
        assert list(antipasto.attachment(model).targets) == ["lin1", "lin2"]
        states.append(model.state_dict())
    for other in states[1:]:
        assert list(other) == list(states[0])
        assert all(torch.equal(tensor, states[0][key]) for key, tensor in other.items())
