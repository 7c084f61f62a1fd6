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
