"""Claims that hold for every variant: what attach adds, what detach leaves, and that merged, saved and loaded
adapters compute the same."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import ALL, Tiny, attach, configs, name_of, randomise, trained_configs
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig, LoRAConfig


def mergeable(cfg: antipasto.AdapterConfig) -> bool:
    return antipasto.REGISTRY[cfg.variant].mergeable


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
    if mergeable(cfg):
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
    if not mergeable(cfg):
        return
    antipasto.merge(tiny)
    with antipasto.disabled(tiny):
        assert torch.equal(tiny(x), base)
    assert torch.allclose(tiny(x), adapted, atol=1e-5)


@settings(max_examples=150)
@given(
    cfg=st.sampled_from([cfg for cfg in configs(r=4) if mergeable(cfg)]),
    d_in=st.integers(4, 24),
    d_out=st.integers(1, 6).map(lambda n: 4 * n),  # road pairs outputs within groups of 4
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
    assert antipasto.AdapterConfig.from_dict(json.loads(json.dumps(cfg.to_dict()))) == cfg


@pytest.mark.parametrize("cfg", trained_configs(), ids=name_of)
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
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(attach(Tiny(), cfg, seed=7).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@every_variant
def test_analytic_parameter_count_is_what_attach_adds(tiny, cfg):
    attach(tiny, cfg)
    counted = sum(antipasto.count_parameters(cfg, m.in_features, m.out_features) for m in (tiny.lin1, tiny.lin2))
    assert counted == sum(p.numel() for p in antipasto.trainable_parameters(tiny).values())


@pytest.mark.parametrize(
    ("cfg", "parameters", "macs"),
    [
        (LoRAConfig(r=32), 3_538_944, 3_538_944),
        (antipasto.PiSSAConfig(r=32), 3_538_944, 3_538_944),
        (antipasto.DoRAConfig(r=32), 3_563_520, 3_538_944),
        (antipasto.DeLoRAConfig(r=32), 3_538_968, 3_538_944),
        (antipasto.HRAConfig(r=32), 2_752_512, 2 * 2_752_512),
        (antipasto.IA3FFConfig(), 86_016, 0),
        (antipasto.LoRAXSConfig(r=32), 24_576, 3_538_944 + 24_576),
        (AntiPaSTOConfig(r=256, rotate_basis="V"), 15_360, 28_336_128),
        (AntiPaSTOConfig(r=256, rotate_basis="U"), 15_360, 28_336_128),
        (AntiPaSTOConfig(r=256, rotate_basis="both"), 24_576, 28_336_128),
        (AntiPaSTOConfig(r=256, rotate_basis="none"), 6_144, 28_311_552),
        (antipasto.AntiPaSTOGainConfig(r=256), 6_144, 28_311_552),
        (antipasto.AntiPaSTOAblateConfig(r=256), 6_168, 28_323_840),
        (antipasto.AntiPaSTODPLRConfig(r=256), 104_448, 28_409_856),
        (antipasto.AntiPaSTOArrowConfig(r=256, block=16), 24 * (256 + 240), 28_317_696),
        (antipasto.DeltaSConfig(), 24 * 2048, 24 * 1024 * (3584 + 1024)),
        (antipasto.RoadConfig(road_variant="road_1"), 24 * 1024, 0),
        (antipasto.RoadConfig(road_variant="road_2"), 24 * 2048, 0),
        (antipasto.RoadConfig(road_variant="road_4"), 24 * 4096, 0),
    ],
)
def test_known_counts_on_24_layers_of_3584_to_1024(cfg, parameters, macs):
    """The shapes of Qwen3.5-0.8B's down_proj, on the meta device: attached for real, without a weight."""
    with torch.device("meta"):
        model = nn.ModuleDict({f"layers_{i}": nn.ModuleDict({"down_proj": nn.Linear(3584, 1024)}) for i in range(24)})
    antipasto.attach(model, cfg)
    assert sum(p.numel() for p in antipasto.trainable_parameters(model).values()) == parameters
    assert 24 * antipasto.count_parameters(cfg, 3584, 1024) == parameters
    assert 24 * antipasto.added_macs(cfg, 3584, 1024) == macs


def test_targets_are_chosen_by_regex_layer_and_exclusion():
    blocks = nn.ModuleList(nn.ModuleDict({"up_proj": nn.Linear(8, 8), "down_proj": nn.Linear(8, 8)}) for _ in range(3))
    model = nn.ModuleDict({"layers": blocks, "lm_head": nn.Linear(8, 8)})

    def targets(**given):
        return list(antipasto.find_targets(model, LoRAConfig(r=2, **given)))

    assert targets() == ["layers.0.down_proj", "layers.1.down_proj", "layers.2.down_proj"]
    assert len(targets(target_names=[".*_proj"])) == 6
    assert targets(target_names=[".*"], layers=[1]) == ["layers.1.up_proj", "layers.1.down_proj"]
    assert targets(target_names=[".*_proj"], exclude_names=["up_proj", r"layers\.[02]\..*"]) == ["layers.1.down_proj"]
    assert len(targets(target_names=["proj|down_.*"])) == 3
    assert "lm_head" not in targets(target_names=[".*"])


def test_without_an_alpha_the_scale_is_one_at_every_rank():
    for cls in (LoRAConfig, antipasto.LoRAXSConfig):
        assert cls(r=8, alpha=None).scale == cls(r=3, alpha=3.0).scale == 1
    assert antipasto.LoRAXSConfig(r=5).scale == 1, "alpha = r is lora_xs's own default"
    with pytest.raises(AdapterError, match="sspace needs an alpha"):
        antipasto.SSpaceConfig(alpha=None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_bits_notice_one_changed_value(dtype):
    model = Tiny().to(dtype)
    before = antipasto.tensor_checksums(dict(model.named_parameters()))
    model.lin2.weight.data.view(-1)[11] *= 1.01
    after = antipasto.tensor_checksums(dict(model.named_parameters()))
    assert [name for name in before if before[name] != after[name]] == ["lin2.weight"]


class Bare(nn.Module):
    """A layer that acts like a linear one and has no bias at all, not even None."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.in_features, self.out_features = d_in, d_out
        self.weight = nn.Parameter(torch.randn(d_out, d_in) / d_in**0.5)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.weight.T


@pytest.mark.parametrize("cfg", configs(r=4), ids=name_of)
def test_a_layer_without_a_bias_that_is_called_by_keyword_adapts_and_merges(cfg):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin1 = Bare(20, 16)

        def forward(self, x, attention_mask=None):
            return self.lin1(hidden=x)

    torch.manual_seed(0)
    model, x = Model(), torch.randn(40, 20)
    model.in_features = 20
    data = [torch.randn(40, 20)]
    data = antipasto.Contrast(data, [torch.randn(40, 20)]) if antipasto.REGISTRY[cfg.variant].contrastive else data
    antipasto.attach(model, cfg, data)
    randomise(model)
    y = model(x)
    if mergeable(cfg):
        assert torch.allclose(antipasto.merge(model)(x), y, atol=1e-4)


def test_dora_keeps_a_row_of_zeros(tiny):
    tiny.lin1.weight.data[3] = 0
    x = torch.randn(3, 20)
    y = tiny(x)
    attach(tiny, antipasto.DoRAConfig(r=4, target_names=ALL))
    assert torch.equal(tiny(x), y)
    tiny(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in antipasto.trainable_parameters(tiny).values())


@every_variant
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_that_is_cast_after_attach_still_computes(tiny, cfg, dtype):
    attach(tiny, cfg)
    tiny.to(dtype)
    assert tiny(torch.randn(3, 20, dtype=dtype)).isfinite().all()


@every_variant
def test_added_macs_are_what_torch_counts_a_further_token(cfg):
    """FlopCounterMode counts two a multiply-accumulate; what a forward costs once, whatever the tokens, cancels."""

    def macs(model, tokens):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.randn(tokens, 20))
        return counter.get_total_flops() // 2

    model = Tiny()
    plain = macs(model, 5) - macs(model, 4)
    attach(model, cfg)
    shapes = [(m.in_features, m.out_features) for m in (model.lin1, model.lin2)]
    assert macs(model, 5) - macs(model, 4) - plain == sum(antipasto.added_macs(cfg, *shape) for shape in shapes)
