"""Attach each of three adapters to a model, train a step, save, load, merge; needs the library and nothing else.

python attach_train_save_load.py FOLDER    # where the adapters are saved
"""

import sys
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

import antipasto


def base_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 16))


def trained_and_loaded(config: antipasto.AdapterConfig, folder: Path) -> None:
    """Raise AssertionError where a step does not lower the loss, or a loaded adapter computes something else."""
    x, target = torch.randn(24, 32), torch.randn(24, 16)
    model = base_model()
    untuned = model(x)
    antipasto.attach(model, config)
    optimizer = torch.optim.SGD(antipasto.trainable_parameters(model).values(), lr=1e-2)
    before = nn.functional.mse_loss(model(x), target)
    before.backward()
    optimizer.step()
    trained = model(x).detach()
    assert nn.functional.mse_loss(trained, target) < before

    place = folder / f"{config.variant}.safetensors"
    antipasto.save(model, place)
    loaded = base_model()
    antipasto.load(loaded, place)
    assert torch.equal(loaded(x), trained)
    assert not torch.equal(trained, untuned)
    antipasto.merge(loaded)
    torch.testing.assert_close(loaded(x), trained, atol=1e-5, rtol=1e-5)


if __name__ == "__main__":
    assert antipasto.__version__ == version("antipasto-adapters")
    names = ["0", "2"]
    for config in (
        antipasto.LoRAConfig(r=4, target_names=names),
        antipasto.AntiPaSTOConfig(r=8, rotate_basis="both", target_names=names),
        antipasto.HRAConfig(r=4, target_names=names),
    ):
        trained_and_loaded(config, Path(sys.argv[1]))
        print(f"{config.variant}: ok")
