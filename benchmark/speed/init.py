"""Attaching, on three blocks of Qwen3-0.6B's shape: cold, from the cache, and from calibration data."""

import os
import sys
import tempfile
import time

import torch
from shapes import blocks, random_batch
from torch import nn

import antipasto
from antipasto_bench.speed.harness import Cell, by_turns, record

TURNS, LAYERS, R = 3, 3, 256
DOWN = ("down_proj",)
BATCHES = [{k: v for k, v in random_batch(2, 256).items() if k != "labels"} for _ in range(2)]


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def attach(model: nn.Module, cfg: antipasto.AdapterConfig, batches: list = BATCHES) -> float:
    data = batches if antipasto.REGISTRY[cfg.variant].needs_data(cfg) else None
    spent = seconds(lambda: antipasto.attach(model, cfg, data))
    antipasto.detach(model)
    return spent


@torch.no_grad()
def corda_as_published(model: nn.Module) -> None:
    """Inputs of each layer kept on the host, then in float32: covariance, its root by eigh, a full SVD of W C^1/2."""
    layers = {name: module for name, module in model.named_modules() if name.endswith(DOWN)}
    inputs: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    handles = [
        layer.register_forward_pre_hook(lambda _, args, name=name: inputs[name].append(args[0].flatten(0, 1).cpu()))
        for name, layer in layers.items()
    ]
    for batch in BATCHES:
        model(**batch)
    for handle in handles:
        handle.remove()
    for name, layer in layers.items():
        x = torch.cat(inputs[name]).to(layer.weight.device)
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        root = (values.clamp(min=0) + 1e-3).sqrt()
        U, S, Q = torch.linalg.svd(layer.weight @ (vectors * root) @ vectors.T, full_matrices=True)
        (U[:, :R], S[:R], Q[:R] @ (vectors / root) @ vectors.T)


def main() -> int:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = blocks(LAYERS).to(device).eval()
    for batch in BATCHES:
        batch.update({key: value.to(device) for key, value in batch.items()})
    svd = antipasto.AntiPaSTOConfig(r=R, target_names=DOWN)
    times: dict[str, list[float]] = {}
    for _ in range(TURNS):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["ANTIPASTO_CACHE"] = cache
            for name in ("attach antipasto, cold", "attach antipasto, warm"):
                times.setdefault(name, []).append(attach(model, svd))
            os.environ["ANTIPASTO_CACHE"] = "off"
            for basis in ("wanda", "asvd", "corda"):
                cfg = antipasto.AntiPaSTOConfig(r=R, basis=basis, target_names=DOWN)
                times.setdefault(f"attach antipasto basis={basis}", []).append(attach(model, cfg))
            long = antipasto.AntiPaSTOConfig(r=R, basis="corda", target_names=DOWN)
            times.setdefault("attach antipasto basis=corda, 4096 tokens", []).append(attach(model, long, 4 * BATCHES))
            eva = antipasto.CONFIGS["eva"](r=32, target_names=DOWN)
            times.setdefault("attach eva r=32", []).append(attach(model, eva))
            times.setdefault("corda as published", []).append(seconds(lambda: corda_as_published(model)))
    claims = [
        by_turns(times, "attach antipasto, warm", "attach antipasto, cold", 0.05, "attach warm / cold"),
        by_turns(times, "attach antipasto basis=corda", "corda as published", 0.20, "corda / as published"),
    ]
    setting = f"{LAYERS} blocks of Qwen3-0.6B's shape, down_proj, r={R}; 1024 tokens to calibrate with."
    return record("init", setting, [Cell(name, "s", values) for name, values in times.items()], claims)


if __name__ == "__main__":
    sys.exit(main())
