"""Claims that hold for every variant: what attach adds, what detach leaves, and that merged, saved and loaded
adapters compute the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import ALL, Tiny, attach, configs, name_of, randomise
from torch import nn

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig, LoRAConfig


def tied(model: Tiny) -> Tiny:
    model.twin = nn.Linear(20, 28)
    model.twin.weight = model.lin1.weight
    return model


every_variant = pytest.mark.parametrize("cfg", configs(), ids=name_of)


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_detach_leaves_every_weight_flag_and_output_as_it_was(tiny, cfg, dtype):
    tiny.to(dtype)
    tiny.lin1.bias.requires_grad_(False)
    x = torch.randn(3, 20, dtype=dtype)
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    flags = {name: p.requires_grad for name, p in tiny.named_parameters()}
    y = tiny(x)
    attach(tiny, cfg)
    randomise(tiny)
    assert not torch.equal(tiny(x), y)
    antipasto.merge(tiny)
    antipasto.detach(tiny)
    assert {name: p.requires_grad for name, p in tiny.named_parameters()} == flags
    assert tiny.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert torch.equal(tiny(x), y)


@every_variant
def test_disabled_is_the_base_bit_for_bit_merged_or_not(tiny, cfg):
    x = torch.randn(3, 20)
    base = tiny(x)
    attach(tiny, cfg)
    randomise(tiny)
    adapted = tiny(x)
    with antipasto.disabled(tiny):
        assert torch.equal(tiny(x), base)
    assert torch.equal(tiny(x), adapted)
    antipasto.merge(tiny)
    with antipasto.disabled(tiny):
        assert torch.equal(tiny(x), base)
    assert torch.allclose(tiny(x), adapted, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    cfg=st.sampled_from(configs(r=4)),
    d_in=st.integers(4, 24),
    d_out=st.integers(4, 24),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_merged_computes_what_the_hooked_layer_does(cfg, d_in, d_out, dtype, seed):
    torch.manual_seed(seed)
    model = Tiny(d_in, 8, d_out).to(dtype)
    x = torch.randn(6, d_in, dtype=dtype)
    attach(model, cfg, seed)
    randomise(model, seed=seed)
    hooked = model(x)
    weight = model.lin1.weight.data
    antipasto.merge(model)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 0.06}[dtype]
    scale = 1 + hooked.abs().max()
    assert (model(x) - hooked).abs().max() < tolerance * scale
    antipasto.unmerge(model)
    assert torch.equal(model.lin1.weight.data, weight)
    assert torch.equal(model(x), hooked)


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("include_basis", [False, True])
def test_saved_and_loaded_computes_the_same(tiny, cfg, dtype, include_basis, tmp_path):
    tiny.to(dtype)
    x = torch.randn(3, 20, dtype=dtype)
    attach(tiny, cfg)
    randomise(tiny)
    y = tiny(x)
    path = antipasto.save(tiny, tmp_path / "adapter.safetensors", include_basis=include_basis)
    antipasto.detach(tiny)
    antipasto.load(tiny, path)  # without data, whatever the basis was chosen by
    assert torch.equal(tiny(x), y)
    assert antipasto.read_config(path) == cfg
    assert [p.name for p in tmp_path.iterdir()] == ["adapter.safetensors"]


@every_variant
def test_inputs_of_any_leading_shape_give_the_same(tiny, cfg):
    attach(tiny, cfg)
    randomise(tiny)
    x = torch.randn(2, 3, 20)
    y = tiny(x)
    assert torch.allclose(tiny(x.flatten(0, 1)), y.flatten(0, 1), atol=1e-6)
    assert torch.allclose(tiny(x[1, 2]), y[1, 2], atol=1e-6)
    assert tiny(x[:0]).shape == (0, 3, 16)


@every_variant
def test_config_survives_a_round_trip_through_json(cfg):
    import json

    assert antipasto.AdapterConfig.from_dict(json.loads(json.dumps(cfg.to_dict()))) == cfg


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_lora_parameters_train_and_each_gets_a_gradient_within_two_steps(tiny, cfg, dtype):
    tiny.to(dtype)
    attach(tiny, cfg)
    trained = antipasto.trainable_parameters(tiny)
    assert {n for n, p in tiny.named_parameters() if p.requires_grad} == trained.keys()
    assert all(".lora_" in name and p.dtype == torch.float32 for name, p in trained.items())
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    seen = set()
    for _ in range(2):
        tiny(torch.randn(16, 20, dtype=dtype)).square().sum().backward()
        seen |= {name for name, p in trained.items() if p.grad is not None and p.grad.abs().sum() > 0}
        optimizer.step()
        optimizer.zero_grad()
    assert seen == trained.keys()
    assert tiny.lin1.weight.grad is None
    assert tiny.lin2.weight.grad is None


@every_variant
def test_the_same_generator_gives_the_same_adapter(cfg):
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(attach(Tiny(), cfg, seed=7).state_dict())
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())


@every_variant
def test_analytic_parameter_count_is_what_attach_adds(tiny, cfg):
    attach(tiny, cfg)
    counted = sum(antipasto.trained_parameters(cfg, m.in_features, m.out_features) for m in (tiny.lin1, tiny.lin2))
    assert counted == sum(p.numel() for p in antipasto.trainable_parameters(tiny).values())


@pytest.mark.parametrize(
    ("cfg", "parameters", "macs"),
    [
        (LoRAConfig(r=32), 3_538_944, 3_538_944),
        (AntiPaSTOConfig(r=256, rotate_basis="V"), 15_360, 28_336_128),
        (AntiPaSTOConfig(r=256, rotate_basis="U"), 15_360, 28_336_128),
        (AntiPaSTOConfig(r=256, rotate_basis="both"), 24_576, 28_336_128),
        (AntiPaSTOConfig(r=256, rotate_basis="none"), 6_144, 28_317_696),
    ],
)
def test_known_counts_on_24_layers_of_3584_to_1024(cfg, parameters, macs):
    """The shapes of Qwen3.5-0.8B's down_proj, on the meta device: attached for real, without a weight."""
    with torch.device("meta"):
        model = nn.ModuleDict({f"layers_{i}": nn.ModuleDict({"down_proj": nn.Linear(3584, 1024)}) for i in range(24)})
    antipasto.attach(model, cfg)
    assert sum(p.numel() for p in antipasto.trainable_parameters(model).values()) == parameters
    assert 24 * antipasto.trained_parameters(cfg, 3584, 1024) == parameters
    assert 24 * antipasto.added_macs(cfg, 3584, 1024) == macs


def test_targets_are_chosen_by_regex_layer_and_exclusion():
    blocks = nn.ModuleList(nn.ModuleDict({"up_proj": nn.Linear(8, 8), "down_proj": nn.Linear(8, 8)}) for _ in range(3))
    model = nn.ModuleDict({"layers": blocks, "lm_head": nn.Linear(8, 8)})

    def found(**given):
        return list(antipasto.find_targets(model, LoRAConfig(r=2, **given)))

    assert found() == ["layers.0.down_proj", "layers.1.down_proj", "layers.2.down_proj"]
    assert len(found(target_names=[".*_proj"])) == 6
    assert found(target_names=[".*"], layers=[1]) == ["layers.1.up_proj", "layers.1.down_proj"]
    assert found(target_names=[".*_proj"], exclude_names=["up_proj", r"layers\.[02]\..*"]) == ["layers.1.down_proj"]
    assert len(found(target_names=["proj|down_.*"])) == 3
    assert "lm_head" not in found(target_names=[".*"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda m: attach(m, LoRAConfig(r=17, target_names=ALL)), "lin2: r=17 is above min.*16"),
        (lambda m: attach(m, LoRAConfig(target_names=["down_proj"])), "no linear layer matches.*lin1, lin2"),
        (lambda m: attach(attach(m, LoRAConfig(r=2, target_names=ALL)), LoRAConfig(r=2)), "already has an adapter"),
        (lambda m: AntiPaSTOConfig(r=10, block_size=4), "r=10 is not a multiple of block_size=4"),
        (lambda m: AntiPaSTOConfig(rotate_basis="W"), "rotate_basis must be one of V, U, both, none; got 'W'"),
        (lambda m: AntiPaSTOConfig(basis="svdd"), "basis must be one of svd, wanda"),
        (lambda m: LoRAConfig(target_names=["("]), "not a valid regex"),
        (lambda m: LoRAConfig(target_names="q_proj"), "must be a list"),
        (lambda m: LoRAConfig(r=0), "r must be a whole number of at least 1"),
        (lambda m: antipasto.AdapterConfig.from_dict({"variant": "lore"}), "did you mean 'lora'"),
        (lambda m: antipasto.AdapterConfig.from_dict({"variant": "lora", "alpa": 1}), "did you mean 'alpha'"),
        (lambda m: antipasto.attach(m, AntiPaSTOConfig(r=8, basis="wanda", target_names=ALL)), "calibration_data"),
        (lambda m: attach(tied(m), LoRAConfig(r=2, target_names=["lin1"])), "lin1 shares its weight with twin.weight"),
        (lambda m: antipasto.detach(m), "no adapter is attached"),
        (lambda m: antipasto.merge(m), "no adapter is attached"),
        (lambda m: antipasto.unmerge(attach(m, LoRAConfig(r=2, target_names=ALL))), "not merged"),
    ],
)
def test_a_mistake_is_one_clear_error_and_leaves_the_model_alone(tiny, wrong, said):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with pytest.raises(AdapterError, match=said):
        wrong(tiny)
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items() if name in before)


def test_a_failed_attach_can_be_tried_again(tiny):
    with pytest.raises(AdapterError, match="4 calibration tokens"):
        antipasto.attach(tiny, AntiPaSTOConfig(r=8, basis="wanda", target_names=ALL), [torch.randn(1, 4, 20)])
    assert all(p.requires_grad for p in tiny.parameters())
    assert not any("lora_" in name for name in tiny.state_dict())
    attach(tiny, LoRAConfig(r=4, target_names=ALL))


def test_loading_says_what_is_wrong(tiny, tmp_path):
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not an adapter")
    with pytest.raises(AdapterError, match="cannot be read"):
        antipasto.load(tiny, junk)
    with pytest.raises(AdapterError, match="cannot be read"):
        antipasto.load(tiny, tmp_path / "absent.safetensors")
    attach(tiny, LoRAConfig(r=4, target_names=ALL))
    path = antipasto.save(tiny, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=r"does not fit|no linear layer"):
        antipasto.load(Tiny(20, 12, 16), path)
    with pytest.raises(AdapterError, match="no layer 'lin1'"):
        antipasto.load(nn.Sequential(nn.Linear(4, 4)), path)


@every_variant
def test_kept_merged_is_a_plain_model_that_computes_the_same(tiny, cfg):
    x = torch.randn(3, 20)
    keys = tiny.state_dict().keys()
    attach(tiny, cfg)
    randomise(tiny)
    y = tiny(x)
    antipasto.detach(antipasto.merge(tiny), keep_merged=True)
    assert tiny.state_dict().keys() == keys
    assert torch.allclose(tiny(x), y, atol=1e-5)
