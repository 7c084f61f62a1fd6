"""Where an interrupted run goes on from: the adapter, the optimizer and the generators, every few steps.

A checkpoint is a folder that appears whole or not at all, with the digest of each of its files; the last two are kept,
so that a damaged one costs a few steps more. Nothing is stored by pickle.
"""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..core.files import folder_atomically, read_regular
from ..core.fingerprint import sha256_of
from ..core.json_types import Json
from ..store.checked_json import parse_object, with_digest, without_digest
from .methods.registry import require_adapter

NEWEST = 2  # stay on the disk
ADAPTER, TENSORS, STATE = "adapter.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are those that were written."""

    folder: Path
    state: Json  # as `Checkpoints.write` was given it

    @property
    def adapter(self) -> Path:
        return self.folder / ADAPTER

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Put moments and generators back as they were; the adapter is loaded apart, before the optimizer is made."""
        tensors = from_bytes(read_regular(self.folder / TENSORS))
        moments: dict[int | str, Json] = {}
        for name, tensor in tensors.items():
            if name.startswith("rng."):
                continue
            place, _, key = name.rpartition(".")
            index = int(place) if place.isdigit() else place  # some optimizers keep a state by a parameter's name
            number, _, kind = key.partition(":")
            moments.setdefault(index, {})[number] = tensor.item() if kind else tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["rng.cuda"])


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.extra_state: dict[str, Any] = {}  # part of the state of each of them

    def latest(self) -> Checkpoint | None:
        """The newest one that is whole; a damaged one is left out with a warning."""
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            try:
                state = without_digest(parse_object(read_regular(folder / STATE)), required=True)
                for name, digest in state["sha256"].items():
                    if sha256_of(folder / name) != digest:
                        raise ValueError(f"{name} is not what was written")
                return Checkpoint(folder, state)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                warnings.warn(f"checkpoint {folder.name} is damaged and left out: {error}", stacklevel=2)
        return None

    def write(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Write all that training after `step` depends on.

        Raises:
            OSError: it could not be written; the ones before it are as they were.
        """
        with folder_atomically(self.folder / f"step-{step:08d}") as partial:
            require_adapter(model).save(partial / ADAPTER)
            tensors = {"rng.cpu": torch.get_rng_state()}
            if torch.cuda.is_available():
                tensors["rng.cuda"] = torch.cuda.get_rng_state()
            for index, moments in optimizer.state_dict()["state"].items():
                for name, value in moments.items():
                    if isinstance(value, Tensor):
                        tensors[f"{index}.{name}"] = value.detach().cpu().contiguous()
                    else:
                        tensors[f"{index}.{name}:number"] = torch.tensor(value)
            (partial / TENSORS).write_bytes(to_bytes(tensors))
            digests = {name: sha256_of(partial / name) for name in (ADAPTER, TENSORS)}
            values = with_digest(self.extra_state | state | {"sha256": digests})
            (partial / STATE).write_text(json.dumps(values), encoding="utf-8")
        for old in sorted(self.folder.glob("step-*"))[:-NEWEST]:
            shutil.rmtree(old, ignore_errors=True)
