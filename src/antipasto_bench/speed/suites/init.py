"""Attaching, on three blocks of Qwen3-0.6B's shape: cold, from the cache, and from calibration data."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import antipasto

from ..measuring import claim_ratio
from ..recording import run_suite
from ..shapes import build_blocks, random_batch
from ..suite import ArmFigures, SuiteResult

TURNS, LAYERS, R = 3, 3, 256
DOWN_PROJ = ("down_proj",)
Batches = list[dict[str, Tensor]]


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def seconds_to_attach(model: nn.Module, cfg: antipasto.AdapterConfig, batches: Batches) -> float:
    data = batches if cfg.needs_data() else None
    spent = seconds(lambda: antipasto.attach(model, cfg, data))
    antipasto.detach(model)
    return spent


@torch.no_grad()
def corda_as_published(model: nn.Module, batches: Batches) -> None:
    """Store each layer's inputs on the host; in float32: covariance C, C^1/2 by eigh, a full SVD of W C^1/2."""
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.endswith(DOWN_PROJ)
    }
    inputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def store_inputs(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda module, args: inputs[name].append(args[0].flatten(0, 1).cpu())

    handles = [layer.register_forward_pre_hook(store_inputs(name)) for name, layer in layers.items()]
    for batch in batches:
        model(**batch)
    for handle in handles:
        handle.remove()
    for name, layer in layers.items():
        x = torch.cat(inputs[name]).to(layer.weight.device)
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        root = (values.clamp(min=0) + 1e-3).sqrt()
        U, S, Q = torch.linalg.svd(layer.weight @ (vectors * root) @ vectors.T, full_matrices=True)
        (U[:, :R], S[:R], Q[:R] @ (vectors / root) @ vectors.T)


def measure() -> SuiteResult:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_blocks(LAYERS).to(device).eval()
    inputs = {key: value.to(device) for key, value in random_batch(2, 256).items() if key != "labels"}
    batches = [inputs, inputs]
    svd = antipasto.AntiPaSTOConfig(r=R, target_names=DOWN_PROJ)
    times: dict[str, list[float]] = {}
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["ANTIPASTO_CACHE"] = cache
            for name in ("attach antipasto, cold", "attach antipasto, warm"):
                times.setdefault(name, []).append(seconds_to_attach(model, svd, batches))
            os.environ["ANTIPASTO_CACHE"] = "off"
            for basis in ("wanda", "asvd", "corda"):
                cfg = antipasto.AntiPaSTOConfig(r=R, basis=basis, target_names=DOWN_PROJ)
                times.setdefault(f"attach antipasto basis={basis}", []).append(seconds_to_attach(model, cfg, batches))
            name = "attach antipasto basis=corda, 4096 tokens"
            corda = antipasto.AntiPaSTOConfig(r=R, basis="corda", target_names=DOWN_PROJ)
            times.setdefault(name, []).append(seconds_to_attach(model, corda, 4 * batches))
            eva = antipasto.CONFIGS["eva"](r=32, target_names=DOWN_PROJ)
            times.setdefault("attach eva r=32", []).append(seconds_to_attach(model, eva, batches))
            spent = seconds(lambda: corda_as_published(model, batches))
            times.setdefault("corda as published", []).append(spent)
    claims = [
        claim_ratio(times, "attach antipasto, warm", "attach antipasto, cold", 0.05, "attach warm / cold"),
        claim_ratio(times, "attach antipasto basis=corda", "corda as published", 0.20, "corda / as published"),
    ]
    setting = f"{LAYERS} blocks of Qwen3-0.6B's shape, down_proj, r={R}; 1024 tokens to calibrate with."
    return SuiteResult(setting, [ArmFigures(name, "s", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(run_suite("init", measure))
