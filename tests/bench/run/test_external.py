"""Claims about variants that installed packages bring: when their code runs, and that what they do is undone."""

import sys
from pathlib import Path

import pytest
import torch
from plugin_package import forget, in_this_process, install_into
from small_runs import StopAfter, make, result_of, small, store_in
from torch import nn

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.signals import Interrupted
from antipasto_bench.run.attach import attach
from antipasto_bench.run.methods.registry import adapter_for, adapter_on, require_adapter
from antipasto_bench.spec.catalogue import entries
from antipasto_bench.spec.compose import compose
from antipasto_bench.spec.methods.external import load_variant, refused
from antipasto_bench.spec.methods.registry import is_known
from antipasto_bench.spec.selection import calibration_of
from antipasto_bench.store.recomputed import incoherent
from antipasto_bench.store.table import read_records

HEAD = """
import torch
from torch import nn
from torch.nn.utils import parametrize

def norms(model):
    return [module for name, module in model.named_modules() if name.endswith("layernorm")]

def parameter(model, name, value):
    setattr(model, name, nn.Parameter(value))
    return getattr(model, name)
"""
# What functions do to a model, each in another way, so that its outputs are others once B is not zero.
DEEDS = {
    "by_a_hook": """
def attach(model, *, generator, scale: float = 1.0):
    b = parameter(model, "b", torch.randn(128, generator=generator))
    for norm in norms(model):
        norm.register_forward_hook(lambda module, args, y: y + scale * b)
    return [b]
""",
    "by_another_module": """
class Shifted(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.b = inner, nn.Parameter(torch.randn(128))
        self.register_buffer("count", torch.zeros(()))
    def forward(self, x):
        return self.inner(x) + self.b.to(x.dtype)

def attach(model):
    for layer in model.model.layers:
        layer.mlp = Shifted(layer.mlp)
    return (layer.mlp.b for layer in model.model.layers)
""",
    "by_another_forward": """
def attach(model):
    b = nn.Parameter(torch.randn(128))
    for norm in norms(model):
        norm.forward = lambda x, own=norm.forward: own(x) + b
    return {"b": b}
""",
    "by_a_parametrization": """
class Times(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(128))
    def forward(self, w):
        return w * self.gain

def attach(model):
    gains = []
    for norm in norms(model):
        parametrize.register_parametrization(norm, "weight", Times())
        gains.append(norm.parametrizations.weight[0].gain)
    return gains
""",
    "in_place": """
def attach(model):
    with torch.no_grad():
        for norm in norms(model):
            norm.weight *= 1.5
        model.model.norm.weight *= 0.5
    return [norm.weight for norm in norms(model)]
""",
}


@pytest.fixture
def site(tmp_path):
    """A folder of packages that this process sees."""
    folder = tmp_path / "site"
    folder.mkdir()
    with in_this_process(folder):
        yield folder


def installed(site: Path, name: str, code: str, **more) -> None:
    install_into(site, name, HEAD + code, **more)
    forget()
    sys.modules.pop(name, None)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(24).view(2, 12), use_cache=False).logits


def named(variant: str, **given):
    load_variant(variant)
    return small(variant, **given)


@pytest.mark.slow
def test_code_of_a_package_runs_where_its_name_is_typed_and_never_to_list_or_to_read(site, tmp_path):
    installed(site, "by_a_hook", DEEDS["by_a_hook"])
    store, run = store_in(tmp_path), named("by_a_hook", steps=2)
    assert make(run, store).status == "ok"
    forget()
    del sys.modules["by_a_hook"]
    assert not is_known("by_a_hook")
    (record,) = read_records(store.table)
    listed = entries(None, [(8, 8)], None)[-1]
    assert (listed.about.variant, listed.about.summary) == (
        "by_a_hook",
        "of by-a-hook 0.1.0; antipasto-bench variants by_a_hook asks it",
    )
    assert not list(incoherent(record))
    assert not list(incoherent(record, as_written=True))
    assert calibration_of(record.config) == record.config.data.calibration, "as of a variant that is not here"
    with pytest.raises(UserError, match=r"by_a_hook is of by-a-hook 0\.1\.0, whose code runs only where the variant"):
        compose("by_a_hook", {}, "nano")
    assert "by_a_hook" not in sys.modules
    load_variant("by_a_hook")
    assert "by_a_hook" in sys.modules
    assert not list(incoherent(record))


@pytest.mark.parametrize("name", DEEDS)
def test_whatever_a_function_did_within_the_model_is_undone_to_the_last_bit(site, name, model, tmp_path):
    installed(site, name, DEEDS[name])
    base, weights = logits(model), antipasto.tensor_checksums(dict(model.named_parameters()))
    modules = [(path, type(module), {*vars(module)}) for path, module in model.named_modules()]
    run = named(name)
    attach(run, model, None, [])
    adapter = require_adapter(model)
    with torch.no_grad():
        for number, parameter in enumerate(adapter.trainable_parameters().values()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    adapted = logits(model)
    assert (adapted - base).norm() > 1e-2 * base.norm()
    with adapter.disabled():
        assert torch.equal(logits(model), base)
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(logits(model), adapted)
    trained = {id(parameter) for parameter in adapter.trainable_parameters().values()}
    assert all(parameter.requires_grad == (id(parameter) in trained) for parameter in model.parameters())
    file = adapter.save(tmp_path / "adapter.safetensors")
    assert file.stat().st_size < 40_000, "of the base's tensors it holds the changed ones alone"
    adapter.detach()
    assert adapter_on(model) is None
    assert [(path, type(module), {*vars(module)}) for path, module in model.named_modules()] == modules
    assert antipasto.tensor_checksums(dict(model.named_parameters())) == weights
    assert torch.equal(logits(model), base)
    adapter_for(run, model).load(run, file)
    assert torch.equal(logits(model), adapted)
    require_adapter(model).detach()
    assert torch.equal(logits(model), base)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["by_another_module", "in_place"])
def test_a_run_of_a_function_that_was_stopped_ends_with_the_bits_of_one_that_was_not(site, name, tmp_path):
    installed(site, name, DEEDS[name])
    run = named(name, lr=1e-3, dtype="bfloat16")
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    make(run, whole)
    with pytest.raises(Interrupted):
        make(run, broken, stop=StopAfter(5))
    assert make(run, broken).status == "ok"
    assert result_of(run, broken) == result_of(run, whole)


def test_another_version_of_a_package_is_another_arm_and_does_not_load_its_adapters(site, model, tmp_path):
    installed(site, "by_a_hook", DEEDS["by_a_hook"])
    older = named("by_a_hook")
    attach(older, model, None, [])
    file = require_adapter(model).save(tmp_path / "adapter.safetensors")
    require_adapter(model).detach()
    (site / "by_a_hook-0.1.0.dist-info").rename(site / "old")
    installed(site, "by_a_hook", DEEDS["by_a_hook"], version="0.2.0")
    newer = named("by_a_hook")
    assert older.adapter["package"] == "by-a-hook 0.1.0"
    assert older.run_id != newer.run_id
    assert older.arm != newer.arm
    assert older.protocol == newer.protocol
    with pytest.raises(UserError, match=r"is of by-a-hook 0\.1\.0, and here is by-a-hook 0\.2\.0; install"):
        adapter_for(older, model).load(older, file)
    assert "package=by-a-hook 0.1.0" in str(adapter_for(newer, None).check_file(newer, file))


def test_a_merge_of_a_package_is_measured_and_undone_and_without_one_there_is_none(site, model):
    merge = """
def merge(model):
    for norm in norms(model):
        norm.weight *= model.gain
        norm._forward_hooks.clear()
    del model.gain

def attach(model):
    gain = parameter(model, "gain", torch.full((128,), 1.25))
    for norm in norms(model):
        norm.register_forward_hook(lambda module, args, y: y * gain)
    return [gain]
"""
    installed(site, "mergeable", merge)
    installed(site, "by_a_hook", DEEDS["by_a_hook"])
    base = logits(model)
    run = named("mergeable")
    attach(run, model, None, [])
    adapter, batches = require_adapter(model), [{"input_ids": torch.arange(24).view(2, 12), "use_cache": False}]
    adapted = logits(model)
    assert run.method.mergeable
    assert 0 <= adapter.merge_error(batches) < 1e-5
    assert adapter.merge_error(batches, torch.bfloat16) > 1e-4
    adapter.merge()
    assert torch.allclose(logits(model), adapted, atol=1e-4)
    adapter.unmerge()
    assert torch.equal(logits(model), adapted)
    adapter.detach()
    assert torch.equal(logits(model), base)
    attach(named("by_a_hook"), model, None, [])
    assert require_adapter(model).merge_refusal() == "by-a-hook 0.1.0 gives no way to merge by_a_hook"
    require_adapter(model).detach()


def test_a_variant_that_a_package_registers_with_the_library_is_one_of_it_with_the_version_in_its_id(site, model):
    code = """
from dataclasses import dataclass
from typing import ClassVar
from antipasto import FrozenBasisConfig, FrozenBasisVariant, ParamSpec, register, register_config

@register_config
@dataclass(frozen=True, kw_only=True)
class GatedConfig(FrozenBasisConfig):
    variant: ClassVar[str] = "gated"
    bound: float = 1.0

@register
class Gated(FrozenBasisVariant):
    config = GatedConfig
    def core_specs(self, r, cfg):
        return {"lora_g": ParamSpec((r,))}
    def change(self, layer, cfg, h):
        return h * (cfg.bound * layer.lora_S * torch.tanh(layer.lora_g)).to(h.dtype)
"""
    installed(site, "gated", code)
    run = named("gated", bound=0.5)
    assert run.rank == 64, "of its family's block in the preset"
    assert run.adapter["package"] == "gated 0.1.0"
    assert run.adapter_config.to_dict()["bound"] == 0.5
    attach(run, model, None, [])
    assert require_adapter(model).merge_refusal() is None
    require_adapter(model).detach()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("attach = 3", "gives neither a variant of the library nor a function"),
        ("def attach(model, rank): pass", "rank has no default"),
        ("def attach(model, **settings): pass", r"\*settings has none"),
        ("def attach(model, kind=None): pass", "kind=None says no type"),
        ("def attach(model, kind: nn.Module = None): pass", "kind is of a type that no setting can have"),
        ("def attach(model, package='x'): pass", "name it otherwise"),
        ("import nothing_of_the_kind", "cannot be imported: No module named 'nothing_of_the_kind'"),
        (
            "import antipasto; antipasto.CONFIGS['lora'] = type('X', (antipasto.LoRAConfig,), {})",
            "replaces the variant",
        ),
        ("def attach(model, seed: int = 0): pass", "its setting 'seed' is one of every run's"),
    ],
)
def test_a_package_that_cannot_be_a_variant_is_one_line(site, code, said):
    installed(site, "odd", code)
    own = antipasto.CONFIGS["lora"]
    with pytest.raises(UserError, match=said) as refusal:
        named("odd")
    assert "\n" not in str(refusal.value)
    assert antipasto.CONFIGS["lora"] is own


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("return [nn.Parameter(torch.zeros(3)), 3]", "returned 1, which is no parameter"),
        ("return []", "returned no parameter"),
        ("return None", "returns the parameters to train"),
        ("raise KeyError('up_proj')", r"odd 0\.1\.0 failed \(odd\.py, line \d+\): KeyError"),
    ],
)
def test_a_function_that_fails_leaves_the_model_as_it_was(site, model, code, said):
    installed(site, "odd", f"def attach(model):\n    model.model.layers[0].mlp = nn.Identity()\n    {code}")
    base = logits(model)
    with pytest.raises(UserError, match=said):
        attach(named("odd"), model, None, [])
    assert torch.equal(logits(model), base)
    assert not isinstance(model.model.layers[0].mlp, nn.Identity)


def test_a_name_that_is_taken_or_impossible_is_refused_and_ours_stay_ours(site):
    installed(site, "odd", "attach = 3", entries={"lora": "odd", "full": "odd", "Odd Name": "odd"})
    assert [line.partition(": ")[2] for line in refused()] == [
        "'Odd Name' is no name of a variant; write small letters, digits and single _ or -",
        "the name 'full' is taken; its variant is not used",
        "the name 'lora' is taken; its variant is not used",
    ]
    load_variant("lora")
    assert "odd" not in sys.modules
