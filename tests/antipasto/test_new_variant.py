"""A new core is one short file: what it takes is here, and every tool of the library then works on it."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from tiny_model import ALL, Tiny, attach, randomise

import antipasto
from antipasto import FrozenBasisConfig, FrozenBasisVariant, ParamSpec


@pytest.fixture
def gated():
    @antipasto.register_config
    @dataclass(frozen=True, kw_only=True)
    class GatedConfig(FrozenBasisConfig):
        variant: ClassVar[str] = "gated"
        bound: float = 1.0

    @antipasto.register
    class Gated(FrozenBasisVariant):
        """core(h) = S * (1 + bound tanh(g)) * h"""

        config = GatedConfig

        def core_specs(self, r, cfg):
            return {"lora_g": ParamSpec((r,))}

        def change(self, layer, cfg, h):
            return h * (cfg.bound * layer.lora_S * torch.tanh(layer.lora_g)).to(h.dtype)

    yield GatedConfig(r=8, target_names=ALL)
    del antipasto.REGISTRY["gated"], antipasto.CONFIGS["gated"]


def test_a_new_core_attaches_merges_and_saves(gated, tmp_path):
    torch.manual_seed(0)
    model, x = Tiny(), torch.randn(3, 20)
    base = model(x)
    attach(model, gated)
    assert torch.equal(model(x), base)
    randomise(model)
    y = model(x)
    path = antipasto.save(model, tmp_path / "a.safetensors")
    antipasto.merge(model)
    assert torch.allclose(model(x), y, atol=1e-5)
    antipasto.detach(model)
    assert torch.equal(antipasto.load(model, path)(x), y)
    assert antipasto.count_parameters(gated, 20, 28) == 8
