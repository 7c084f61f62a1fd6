"""All that becomes of an adapter, on one device: what is compared between devices."""

from pathlib import Path
from typing import Any

import torch
from tiny_model import Tiny
from torch import Tensor, nn

import antipasto

STEPS = 3


def outputs_of_a_life(
    cfg: antipasto.AdapterConfig, device: str, folder: Path, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Losses of training, and outputs trained, merged, disabled and loaded again."""
    torch.manual_seed(0)
    model = Tiny().to(device, dtype)
    generator = torch.Generator().manual_seed(0)
    batches: Any = [torch.randn(4, 16, 20, generator=generator).to(dtype) for _ in range(2)]
    if antipasto.REGISTRY[cfg.variant].contrastive:
        batches = antipasto.Contrast(batches, [torch.randn(4, 16, 20, generator=generator).to(dtype)])
    antipasto.attach(model, cfg, batches, generator=generator)
    x, outputs = torch.randn(3, 5, 20, generator=generator).to(device, dtype), []
    trained = list(antipasto.trainable_parameters(model).values())
    assert all(parameter.device == x.device for parameter in trained)
    optimizer = torch.optim.AdamW(trained, lr=1e-2, fused=True) if trained else None
    for _ in range(STEPS if optimizer else 0):
        loss = model(x).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        outputs.append(loss.detach().cpu())
    with torch.no_grad():
        outputs.append(model(x).cpu())
        if antipasto.merge_refusal(model) is None:
            antipasto.merge(model)
            outputs.append(model(x).cpu())
            antipasto.unmerge(model)
        with antipasto.disabled(model):
            outputs.append(model(x).cpu())
        path = antipasto.save(model, folder / f"{device}.safetensors")
        antipasto.detach(model)
        antipasto.load(model, path)
        outputs.append(model(x).cpu())
    return outputs
