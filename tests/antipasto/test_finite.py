"""Claims about numbers that are not finite: NaN and inf are refused at attach by the layer's name, and never cached."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from tiny_model import ALL, Tiny, attach, configs, name_of
from torch import nn

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig
from antipasto.svd_cache import _digest, cache_entries, svd
from antipasto.tensor_bytes import safetensors_bytes

NUMBERS = [torch.nan, torch.inf, -torch.inf]
WITH_DATA = [cfg for cfg in configs() if cfg.needs_data()]


@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("cfg", configs(), ids=name_of)
def test_a_weight_with_nan_or_inf_is_refused_by_name_whatever_the_variant(tiny, cfg, number):
    whole = copy.deepcopy(tiny.lin2.weight.data)
    tiny.lin2.weight.data[3, 5] = number
    tiny.lin2.weight.data[4, 5] = -number  # their sum is NaN, or their cancelling hides them
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    with pytest.raises(AdapterError, match=r"lin2\.weight holds NaN or inf; load the base model again"):
        attach(tiny, cfg)
    assert tiny.state_dict().keys() == before.keys()
    assert all(p.requires_grad for p in tiny.parameters())
    tiny.lin2.weight.data = whole
    attach(tiny, cfg)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_bias_is_looked_at_too_in_every_dtype_and_on_loading(tmp_path, dtype):
    model = Tiny().to(dtype)
    antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=ALL))
    path = antipasto.save(model, tmp_path / "a.safetensors")
    antipasto.detach(model)
    model.lin1.bias.data[7] = torch.inf
    model.lin2.weight.data[0, 0] = torch.nan
    with pytest.raises(AdapterError, match=r"lin1\.bias holds NaN or inf, and 1 more"):
        antipasto.load(model, path)
    with pytest.raises(AdapterError, match=r"lin1\.bias holds NaN or inf;"):
        antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=["lin1"]))


@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("include_basis", [False, True])
def test_an_adapter_file_with_nan_or_inf_is_refused_by_layer_and_tensor(tmp_path, number, include_basis):
    model = Tiny()
    antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=ALL))
    model.lin2.lora_B.data[3, 1] = number
    path = antipasto.save(model, tmp_path / "a.safetensors", include_basis=include_basis)
    model.lin1.lora_A.data[0, 0] = number
    worse = antipasto.save(model, tmp_path / "b.safetensors", include_basis=include_basis)
    antipasto.detach(model)
    with pytest.raises(AdapterError, match=r"a\.safetensors: lin2: its lora_B holds NaN or inf; load a file saved"):
        antipasto.load(model, path)
    with pytest.raises(AdapterError, match=r"lin1: its lora_A holds NaN or inf, and 1 more in the file; load"):
        antipasto.load(model, worse)
    assert not any("lora_" in name for name in model.state_dict())


def test_a_frozen_tensor_of_a_file_is_looked_at_too(tmp_path):
    model = Tiny()
    antipasto.attach(model, AntiPaSTOConfig(r=4, target_names=["lin1"]))
    name, basis = next(item for item in model.lin1.named_buffers() if item[0].startswith("lora_"))
    basis.data.view(-1)[2] = torch.nan
    path = antipasto.save(model, tmp_path / "a.safetensors", include_basis=True)
    antipasto.detach(model)
    with pytest.raises(AdapterError, match=rf"lin1: its {name} holds NaN or inf"):
        antipasto.load(model, path)


def test_large_weights_that_are_finite_are_accepted():
    model = Tiny()
    model.lin1.weight.data.fill_(3e38)
    antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=ALL))


class Expert(Tiny):
    """A layer that sees no token, as an expert may."""

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        self.lin1(x[:0])
        y: torch.Tensor = self.lin2(torch.tanh(self.lin1(x)))
        return y


@pytest.mark.parametrize("number", NUMBERS, ids=str)
@pytest.mark.parametrize("cfg", WITH_DATA, ids=name_of)
def test_calibration_inputs_with_nan_or_inf_are_refused_by_name(cfg, number):
    data = [torch.randn(4, 16, 20) for _ in range(3)]
    data[1][2, 3, 4] = number
    data = antipasto.Contrast(data[:1], data[1:]) if antipasto.REGISTRY[cfg.variant].contrastive else data
    for model in (Tiny(), Expert()):
        with pytest.raises(AdapterError, match="lin1: calibration gave it inputs with NaN or inf"):
            antipasto.attach(model, cfg, data)
        assert not any("lora_" in name for name in model.state_dict())


def test_padding_may_hold_anything():
    x, mask = torch.randn(2, 40, 20), torch.ones(2, 40)
    x[:, 30:], mask[:, 30:] = torch.nan, 0
    antipasto.attach(Tiny(), AntiPaSTOConfig(r=8, basis="wanda", target_names=ALL), [{"x": x, "attention_mask": mask}])


def test_what_attach_computes_is_looked_at_before_it_is_used(tiny, monkeypatch):
    cfg = AntiPaSTOConfig(r=4, basis="asvd", target_names=["lin1"])
    with pytest.raises(AdapterError, match=r"lin1: no eigendecomposition .* it holds NaN or inf"):
        antipasto.attach(tiny, cfg, [1e30 * torch.randn(40, 20)])  # whose squares float32 cannot hold
    assert not any("lora_" in name for name in tiny.state_dict())
    monkeypatch.setattr("antipasto.variants.eva.eigh", lambda C: (C[0], C * torch.nan))
    with pytest.raises(AdapterError, match=r"lin1: its lora_A came out with NaN or inf"):
        antipasto.attach(tiny, antipasto.EVAConfig(r=4, target_names=["lin1"]), [torch.randn(40, 20)])
    assert not any("lora_" in name for name in tiny.state_dict())


def test_nothing_that_is_not_finite_is_cached_or_read(monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIPASTO_CACHE", str(tmp_path / "svd"))
    broken = torch.randn(6, 4)
    broken[2, 1] = torch.nan
    with pytest.raises(AdapterError, match="it holds NaN or inf"):
        svd(broken)
    assert cache_entries() == []
    W = torch.randn(6, 4)
    expected = svd(W)
    (entry,) = cache_entries()
    factors = expected._replace(S=expected.S * torch.nan)
    entry.write_bytes(safetensors_bytes(factors._asdict() | {"sha256": _digest(entry.stem, factors)}))
    with pytest.warns(UserWarning, match=r"will be computed again: it holds NaN or inf"):
        again = svd(W)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    assert torch.equal(load_file(entry)["S"], expected.S), "and the entry is mended"


def test_a_quantised_weight_is_looked_at_as_it_will_be_used():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    linear = nn.Linear(64, 64)
    model = nn.ModuleDict({"lin1": bitsandbytes.nn.Linear4bit(64, 64, quant_type="nf4", compress_statistics=False)})
    model["lin1"].load_state_dict(linear.state_dict())
    model.to("cpu")
    model["lin1"].weight.quant_state.absmax[3] = torch.nan
    with pytest.raises(AdapterError, match=r"lin1\.weight holds NaN or inf"):
        antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=ALL))
