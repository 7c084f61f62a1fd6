"""Claims about parameters in bfloat16: only their values are rounded, and nothing that is computed from them."""

import copy

import pytest
import torch
from tiny_model import ALL, Tiny, attach, configs, name_of, randomise, trained_configs
from torch import Tensor, nn

import antipasto

BF16 = torch.bfloat16
LR = 1e-2


def adapted(cfg: antipasto.AdapterConfig, base: torch.dtype, trained: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return attach(Tiny().to(base), cfg, trained=trained)


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return antipasto.trainable_parameters(model)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, count: int) -> None:
    for _ in range(count):
        model(x).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("base", [torch.float32, BF16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("cfg", trained_configs(), ids=name_of)
def test_it_computes_and_learns_what_float32_parameters_of_the_same_values_do(cfg, base):
    model, twin = adapted(cfg, base, BF16), adapted(cfg, base, torch.float32)
    for name, own in parameters(model).items():
        assert own.dtype == BF16
        if cfg.variant != "pissa":  # the sign of a singular vector is open
            assert torch.equal(own, parameters(twin)[name].to(BF16)), "drawn in float32, then rounded"
    randomise(model, 0.1)
    antipasto.detach(twin)
    twin = adapted(cfg, base, torch.float32)
    if cfg.variant == "pissa":  # whose W_res is less the product of the rounded factors
        twin.load_state_dict(model.state_dict())
    for name, own in parameters(twin).items():
        own.data.copy_(parameters(model)[name])
    x = torch.randn(3, 20).to(base)
    if cfg.variant == "dora":  # whose norms are rounded as m is
        assert (model(x) - twin(x)).abs().max() <= 2**-7 * twin(x).abs().max()
    else:
        assert torch.equal(model(x), twin(x))
    model(x).float().square().mean().backward()
    twin(x).float().square().mean().backward()
    for name, own in parameters(model).items():
        theirs = parameters(twin)[name].grad
        assert own.grad.dtype == BF16
        assert (own.grad - theirs).abs().max() <= 2**-6 * theirs.abs().max()


def test_dora_starts_as_the_base_model_to_the_last_bit():
    model, x = adapted(antipasto.DoRAConfig(r=4, target_names=ALL), torch.float32, BF16), torch.randn(3, 20)
    y = model(x)
    with antipasto.disabled(model):
        assert torch.equal(model(x), y)


@pytest.mark.parametrize("cfg", trained_configs(), ids=name_of)
def test_a_saved_adapter_goes_on_to_the_last_bit_in_the_dtype_it_was_saved_in(cfg, tmp_path):
    model, x = adapted(cfg, torch.float32, BF16), torch.randn(3, 20)
    optimizer = torch.optim.AdamW(parameters(model).values(), lr=LR, fused=True)
    steps(model, optimizer, x, 2)
    assert {m.dtype for s in optimizer.state.values() for k, m in s.items() if k != "step"} == {BF16}
    antipasto.save(model, tmp_path / "adapter.safetensors")
    torch.manual_seed(0)
    again = antipasto.load(Tiny(), tmp_path / "adapter.safetensors")
    resumed = torch.optim.AdamW(parameters(again).values(), lr=LR, fused=True)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, of in ((model, optimizer), (again, resumed)):
        steps(each, of, x, 2)
    for name, own in parameters(model).items():
        assert parameters(again)[name].dtype == BF16
        assert torch.equal(own, parameters(again)[name])


@pytest.mark.parametrize("cfg", [c for c in configs() if antipasto.REGISTRY[c.variant].mergeable], ids=name_of)
def test_it_merges_into_a_float32_base_at_full_precision(cfg):
    model, x = adapted(cfg, torch.float32, BF16), torch.randn(3, 20)
    randomise(model)
    y = model(x)
    assert torch.allclose(antipasto.merge(model)(x), y, atol=1e-5)
    assert torch.equal(antipasto.unmerge(model)(x), y)


def test_choosing_anew_keeps_the_dtype_and_no_other_than_two_is_taken():
    cfg = antipasto.AntiPaSTOGainConfig(r=4, basis="wanda", target_names=ALL)
    model = antipasto.recalibrate(adapted(cfg, torch.float32, BF16), [torch.randn(4, 16, 20)])
    assert {p.dtype for p in parameters(model).values()} == {BF16}
    with pytest.raises(antipasto.AdapterError, match=r"dtype=torch\.float16: .* float32 or bfloat16"):
        antipasto.attach(Tiny(), cfg, dtype=torch.float16)
