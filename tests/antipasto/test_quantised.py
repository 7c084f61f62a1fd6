"""Claims about quantised bases, on real bitsandbytes layers: every variant but PiSSA attaches, trains, saves and loads
there, and none merges. On a CPU; what needs a GPU is marked so."""

import bitsandbytes as bnb
import pytest
import torch
from tiny_model import ALL, attach, name_of, trained_configs
from torch import nn

import antipasto
from antipasto import AdapterError, PiSSAConfig
from antipasto.quantised import quantisation, repacked, weight_of

BITS = ["8-bit", "4-bit"]
on_quantised = [cfg for cfg in trained_configs() if cfg.variant != "pissa"]


class Quantised(nn.Module):
    """Two quantised linear layers between a float norm and a nonlinearity, as in a language model."""

    def __init__(self, bits: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(64).to(dtype)
        for name, (d_in, d_out) in {"lin1": (64, 128), "lin2": (128, 32)}.items():
            plain = nn.Linear(d_in, d_out, bias=name == "lin1").to(dtype)
            if bits == "8-bit":
                layer = bnb.nn.Linear8bitLt(d_in, d_out, bias=name == "lin1", has_fp16_weights=False)
            else:
                layer = bnb.nn.Linear4bit(d_in, d_out, bias=name == "lin1", quant_type="nf4", compute_dtype=dtype)
            layer.load_state_dict(plain.state_dict())
            setattr(self, name, layer.to(dtype))
        self.to(device)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.lin2(torch.tanh(self.lin1(self.norm(x))))


@pytest.mark.parametrize("bits", BITS)
def test_the_weight_that_is_adapted_is_the_one_that_computes(bits):
    model = Quantised(bits)
    before = weight_of(model.lin1)
    x = torch.randn(7, 64)
    y = model.lin1(x)
    after = weight_of(model.lin1)  # 8-bit layers move their codes at the first forward
    assert quantisation(model.lin1) == bits
    assert before.shape == (128, 64)
    assert torch.equal(before, after)
    # An 8-bit layer also rounds its input to 8 bits, so it is close to its weight and not equal.
    assert (y - x @ after.T - model.lin1.bias).abs().max() < (0.05 if bits == "8-bit" else 1e-5)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("cfg", on_quantised, ids=name_of)
def test_a_variant_attaches_trains_saves_and_loads_on_a_quantised_base(cfg, bits, tmp_path):
    model, x = Quantised(bits), torch.randn(6, 64)
    base = model(x).detach()
    attach(model, cfg)
    with antipasto.disabled(model):
        assert torch.equal(model(x), base)
    trained = antipasto.trainable_parameters(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained.keys()
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    for _ in range(2):
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    y = model(x).detach()
    assert (y - base).abs().max() > 1e-4
    path = antipasto.save(model, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=rf"lin1 is quantised \({bits}\)"):
        antipasto.merge(model)
    assert torch.equal(model(x), y), "a refused merge changes nothing"
    antipasto.detach(model)
    assert torch.equal(model(x), base)
    other = Quantised(bits)
    antipasto.load(other, path)
    assert torch.allclose(other(x), y, atol=1e-6)


def test_a_4bit_layer_that_was_repacked_for_inference_is_refused_and_still_read_right():
    """On CPUs where bitsandbytes repacks: an adapter would read wrong codes, and no gradient would pass."""
    model, x = Quantised("4-bit"), torch.randn(6, 64)
    before = weight_of(model.lin1)
    attach(model, antipasto.DoRAConfig(r=4, target_names=ALL))  # DoRA reads the weight at every forward
    with torch.no_grad():
        trained_mode = model(x)
        assert (model.eval()(x) - trained_mode).abs().max() < 0.02
    if not repacked(model.lin1):
        pytest.skip("bitsandbytes repacks on CPUs with AVX512-BF16 alone")
    assert (weight_of(model.lin1) - before).abs().max() < 0.01 * before.abs().max()
    antipasto.detach(model)
    with pytest.raises(AdapterError, match="lin1 was called in eval mode"):
        attach(model, antipasto.LoRAConfig(r=4, target_names=ALL))


@pytest.mark.parametrize("bits", BITS)
def test_pissa_refuses_a_quantised_base_and_says_why(bits):
    model = Quantised(bits)
    with pytest.raises(AdapterError, match=rf"lin1 is quantised \({bits}\), and pissa changes the weight itself"):
        antipasto.attach(model, PiSSAConfig(r=4, target_names=ALL))
    assert not any("lora_" in name for name in model.state_dict())


@pytest.mark.parametrize("bits", BITS)
def test_an_exact_start_is_exact_on_a_quantised_base(bits):
    model, x = Quantised(bits), torch.randn(6, 64)
    base = model(x)
    for cfg in on_quantised:
        if antipasto.describe(cfg.variant).identity.startswith("exact"):
            attach(model, cfg)
            assert torch.equal(model(x), base), cfg
            antipasto.detach(model)


@pytest.mark.parametrize("bits", BITS)
def test_sspace_steers_a_quantised_base(bits, tmp_path):
    model, x = Quantised(bits), torch.randn(6, 64)
    base = model(x)
    cfg = antipasto.SSpaceConfig(r=8, alpha=0.5, target_names=ALL)
    antipasto.attach(model, cfg, antipasto.Contrast([torch.randn(9, 64) + 0.3], [torch.randn(9, 64)]))
    y = model(x)
    assert (y - base).abs().max() > 1e-4
    path = antipasto.save(model, tmp_path / "a.safetensors")
    other = antipasto.load(Quantised(bits), path)
    assert torch.allclose(other(x), y, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: bitsandbytes' own CUDA kernels")
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("cfg", on_quantised, ids=name_of)
def test_on_a_gpu_bfloat16_activations_and_buffers_train(cfg, bits):
    model = Quantised(bits, torch.bfloat16, "cuda")
    x = torch.randn(6, 64, device="cuda", dtype=torch.bfloat16)
    attach(model, cfg)
    assert all(b.dtype in (torch.bfloat16, torch.float32) for n, b in model.named_buffers() if "lora_" in n)
    model(x).float().square().sum().backward()
    assert all(p.grad is not None for p in antipasto.trainable_parameters(model).values())


def test_bitsandbytes_is_imported_only_where_a_layer_is_its_own():
    import subprocess
    import sys

    code = (
        "import sys, torch, antipasto; m = torch.nn.Sequential(torch.nn.Linear(8, 8));"
        "antipasto.attach(m, antipasto.LoRAConfig(r=2, target_names=['0'])); assert 'bitsandbytes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_merging_is_refused_before_anything_changes():
    model = nn.ModuleDict({"plain": nn.Linear(64, 32), "lin1": Quantised("8-bit").lin1})
    antipasto.attach(model, antipasto.LoRAConfig(r=2, target_names=["plain", "lin1"]))
    model["plain"].lora_B.data.normal_()
    weight = model["plain"].weight.detach().clone()
    with pytest.raises(AdapterError, match="lin1 is quantised"):
        antipasto.merge(model)
    assert torch.equal(model["plain"].weight, weight)
    assert not antipasto.attachment(model).merged
