"""Claims about merging: a merged model is a plain one, can be copied, and no context manager loses what it holds."""

import copy

import pytest
import torch
from tiny_model import ALL, Tiny, attach, configs, name_of, randomise

import antipasto
from antipasto import AdapterError, LoRAConfig


def mergeable(cfg: antipasto.AdapterConfig) -> bool:
    return antipasto.REGISTRY[cfg.variant].mergeable


@pytest.mark.parametrize("cfg", [cfg for cfg in configs() if mergeable(cfg)], ids=name_of)
def test_kept_merged_is_a_plain_model_that_computes_the_same(tiny, cfg):
    x = torch.randn(3, 20)
    keys = tiny.state_dict().keys()
    attach(tiny, cfg)
    randomise(tiny)
    y = tiny(x)
    antipasto.detach(antipasto.merge(tiny), keep_merged=True)
    assert tiny.state_dict().keys() == keys
    assert torch.allclose(tiny(x), y, atol=1e-5)


@pytest.mark.parametrize("cfg", [cfg for cfg in configs() if mergeable(cfg)], ids=name_of)
def test_a_merged_layer_is_called_as_a_plain_one_and_its_copies_can_be_unmerged(cfg):
    model, x, _, adapted = base_and_adapted(cfg)
    antipasto.merge(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    twin = copy.deepcopy(model)
    antipasto.unmerge(twin)
    assert torch.equal(twin(x), adapted)
    assert torch.allclose(model(x), adapted, atol=1e-5)
    assert torch.equal(antipasto.detach(twin)(x), antipasto.detach(model)(x))


def test_a_hook_of_ones_own_sees_the_adapted_output_also_after_merging_and_back(tiny):
    seen = []
    tiny.lin1.register_forward_hook(lambda module, args, out: seen.append(out))
    antipasto.attach(tiny, LoRAConfig(r=2, target_names=("lin1",)))
    tiny.lin1.register_forward_hook(lambda module, args, out: seen.append(out))
    randomise(tiny)
    x = torch.randn(3, 20)
    for change in (lambda model: model, lambda model: antipasto.unmerge(antipasto.merge(model))):
        y = change(tiny).lin1(x)
        assert all(torch.equal(out, y) for out in seen)
        assert len(seen) == 2
        seen.clear()


def base_and_adapted(cfg):
    torch.manual_seed(0)
    model, x = Tiny(), torch.randn(3, 20)
    base = model(x)
    attach(model, cfg)
    randomise(model)
    return model, x, base, model(x)


@pytest.mark.parametrize("cfg", [LoRAConfig(r=4, target_names=ALL), antipasto.PiSSAConfig(r=4, target_names=ALL)])
@pytest.mark.parametrize("merged", [False, True])
def test_inside_disabled_nothing_can_be_moved_that_its_end_would_undo(cfg, merged):
    model, x, base, adapted = base_and_adapted(cfg)
    if merged:
        antipasto.merge(model)
    with antipasto.disabled(model), antipasto.disabled(model):
        for change in (antipasto.merge, antipasto.unmerge, antipasto.detach, antipasto.recalibrate):
            with pytest.raises(AdapterError, match="inside disabled"):
                change(model)
        assert torch.equal(model(x), base)
    assert torch.allclose(model(x), adapted, atol=1e-5)
    antipasto.detach(model)
    assert torch.equal(model(x), base)


@pytest.mark.parametrize("inside", [antipasto.merge, antipasto.unmerge])
def test_merging_or_unmerging_inside_zeroed_loses_no_trained_tensor(inside):
    model, x, base, adapted = base_and_adapted(LoRAConfig(r=4, target_names=ALL))
    if inside is antipasto.unmerge:
        antipasto.merge(model)
    with antipasto.zeroed(model, "lora_B"):
        inside(model)
        assert torch.allclose(model(x), base, atol=1e-6)
    assert antipasto.attachment(model).merged == (inside is antipasto.merge)
    assert torch.allclose(model(x), adapted, atol=1e-5)


class Readout(torch.nn.Module):
    """One adapted layer, whose outputs are what is compared."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.lin1 = torch.nn.Linear(512, 256, bias=False, dtype=dtype)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.lin1(x)


def with_small_change(dtype: torch.dtype, relative: float) -> torch.nn.Module:
    """A 512 x 256 layer whose LoRA changes W by `relative` of its norm."""
    torch.manual_seed(0)
    model = Readout(dtype)
    antipasto.attach(model, LoRAConfig(r=8, alpha=8, target_names=ALL))
    layer = model.lin1
    torch.nn.init.normal_(layer.lora_B)
    change = layer.lora_B.detach() @ layer.lora_A.detach()
    layer.lora_B.data *= relative * float(layer.weight.float().norm() / change.norm())
    return model


@pytest.mark.parametrize(
    ("dtype", "relative", "low", "high"),
    [
        (torch.float32, 0.001, 0.0, 0.005),
        (torch.float32, 0.1, 0.0, 1e-5),
        (torch.bfloat16, 0.001, 0.5, 3.0),
        (torch.bfloat16, 0.03, 0.02, 0.3),
    ],
)
def test_the_error_of_merging_is_what_rounding_loses_of_a_change(dtype, relative, low, high):
    model = with_small_change(dtype, relative)
    x = torch.randn(2, 16, 512, dtype=dtype)
    before = model(x)
    error = antipasto.merge_error(model, [x])
    assert low <= error < high
    assert torch.equal(model(x), before), "it is unmerged again, and hooked"
    merged = antipasto.merge(model)(x).detach().float()
    base = torch.nn.functional.linear(x, with_base(model)).float()
    adapted = before.detach().float()
    expected = (merged - adapted).norm() / (adapted - base).norm()
    assert error == pytest.approx(float(expected), rel=1e-3)


def with_base(model: torch.nn.Module) -> torch.Tensor:
    return antipasto.attachment(model).unmerged["lin1"].weight


def test_merging_into_float32_loses_nothing_of_what_bfloat16_was_trained_to(tiny):
    model = with_small_change(torch.bfloat16, 0.001)
    x = torch.randn(2, 16, 512)
    model.float()
    assert antipasto.merge_error(model, [x]) < 1e-3
    assert antipasto.merge_error(model, [x], torch.bfloat16) > 0.3


@pytest.mark.parametrize("cfg", [cfg for cfg in configs() if mergeable(cfg)], ids=name_of)
def test_in_float32_every_variant_may_be_scored_merged(cfg):
    model, x, _, adapted = base_and_adapted(cfg)
    assert antipasto.merge_error(model, [x, x[:1]]) < 1e-4
    assert torch.equal(model(x), adapted)


def test_an_adapter_that_changes_nothing_has_no_error_of_merging(tiny):
    antipasto.attach(tiny, LoRAConfig(r=2, target_names=ALL))
    assert antipasto.merge_error(tiny, [torch.randn(3, 20)]) == 0


def test_padding_is_no_part_of_the_error_of_merging():
    model = with_small_change(torch.bfloat16, 0.01)
    x = torch.randn(2, 6, 512, dtype=torch.bfloat16)
    padded = torch.cat([x, 100 * torch.randn(2, 4, 512, dtype=torch.bfloat16)], dim=1)
    mask = torch.tensor([[1] * 6 + [0] * 4] * 2)
    expected = antipasto.merge_error(model, [x])
    assert antipasto.merge_error(model, [{"x": padded, "attention_mask": mask}]) == pytest.approx(expected, rel=1e-6)
    assert antipasto.merge_error(model, [padded]) != pytest.approx(expected, rel=1e-3)


def test_the_error_of_merging_needs_a_batch_and_an_adapter_that_is_not_merged(tiny):
    antipasto.attach(tiny, LoRAConfig(r=2, target_names=ALL))
    with pytest.raises(AdapterError, match="no batch"):
        antipasto.merge_error(tiny, [])
    antipasto.merge(tiny)
    with pytest.raises(AdapterError, match="merged already"):
        antipasto.merge_error(tiny, [torch.randn(3, 20)])
