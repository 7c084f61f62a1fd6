"""Singular value decompositions, kept on disk.

An entry is found by the sha256 of the matrix's own bytes with its dtype and shape, so that a stale one cannot be
hit. It is written atomically and checked against its own digest when it is read: many processes can share a cache,
and a damaged entry is computed again, with a warning. Beyond its bound the cache forgets what was used least recently.

ANTIPASTO_CACHE names its folder (`off`: nothing is kept); ANTIPASTO_CACHE_GB is its bound, 8 unless set.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from .config import AdapterError
from .variant import at_least_float32

_OURS = re.compile(r"[0-9a-f]{64}")
STALE_S = 3600  # what a killed writer left behind goes after an hour


class SVDFactors(NamedTuple):
    U: Float[Tensor, "d_out k"]
    S: Float[Tensor, " k"]
    Vh: Float[Tensor, "k d_in"]


def svd(W: Float[Tensor, "d_out d_in"]) -> SVDFactors:
    """The thin SVD of a matrix, computed in at least float32, on its device; from the cache where it is there."""
    folder = cache_folder()
    if folder is None or W.is_meta:
        return _compute(W)
    entry = folder / f"{_key(W)}.safetensors"
    found = _read(entry)
    if found is None:
        found = _compute(W)
        _write(entry, found)
    return SVDFactors(*(tensor.to(W.device) for tensor in found))


def cache_folder() -> Path | None:
    """Where entries lie; None where nothing is kept."""
    named = os.environ.get("ANTIPASTO_CACHE")
    if named == "off":
        return None
    if named:
        return Path(os.path.expanduser(named))
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "antipasto" / "svd"


def cache_limit() -> int:
    """The most bytes that entries may take.

    Raises:
        AdapterError: ANTIPASTO_CACHE_GB is not a number of at least 0.
    """
    given = os.environ.get("ANTIPASTO_CACHE_GB", "8")
    try:
        limit = float(given)
    except ValueError:
        limit = -1
    if not 0 <= limit < float("inf"):
        raise AdapterError(f"ANTIPASTO_CACHE_GB={given!r}: expected a number of gigabytes, such as 8")
    return int(limit * 1e9)


def cache_entries() -> list[Path]:
    """The entries, the least recently used first."""
    folder = cache_folder()
    return [path for _, _, path in _by_age(folder)] if folder else []


def clear_cache() -> int:
    """Remove every entry; returns how many there were."""
    entries = cache_entries()
    for entry in entries:
        entry.unlink(missing_ok=True)
    return len(entries)


def _compute(W: Tensor) -> SVDFactors:
    precise = at_least_float32(W.detach())
    return SVDFactors(*torch.linalg.svd(precise, full_matrices=False))


def _key(W: Tensor) -> str:
    data = W.detach().contiguous().cpu()
    digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)} ".encode())
    digest.update(data.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(key: str, found: SVDFactors) -> Tensor:
    digest = hashlib.sha256(key.encode())  # an entry under another's name is as good as damaged
    for tensor in found:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _read(entry: Path) -> SVDFactors | None:
    try:
        # Whole, at once: a file that is mapped could be gone, in another process making room, before it is read.
        tensors = from_bytes(entry.read_bytes())
        said = tensors.pop("sha256")
        found = SVDFactors(**tensors)
        if not torch.equal(said, _digest(entry.stem, found)):
            raise ValueError("its content does not match its digest")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        warnings.warn(f"{entry} is damaged and will be computed again: {error}", stacklevel=3)
        return None
    with suppress(OSError):  # another process made room, or the cache is read-only
        os.utime(entry)  # used now
    return found


def _write(entry: Path, found: SVDFactors) -> None:
    found = SVDFactors(*(tensor.detach().cpu().contiguous() for tensor in found))
    limit = cache_limit()
    if sum(tensor.nbytes for tensor in found) > limit:
        return
    partial = entry.with_name(f".{entry.stem}.{os.getpid()}.{time.monotonic_ns()}.partial")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(to_bytes(found._asdict() | {"sha256": _digest(entry.stem, found)}))
        os.replace(partial, entry)
        _make_room(entry.parent, limit)
    except OSError as error:  # a cache that cannot be written costs time, not the run
        warnings.warn(f"an SVD could not be kept in {entry.parent}: {error.strerror}", stacklevel=4)
    finally:
        with suppress(OSError):
            partial.unlink()


def _by_age(folder: Path) -> list[tuple[float, int, Path]]:
    found = []
    for path in folder.glob("*.safetensors"):
        if not _OURS.fullmatch(path.stem):
            continue  # the folder may hold other things, that are not ours to remove
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # another process made room
        found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def _make_room(folder: Path, limit: int) -> None:
    entries = _by_age(folder)
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size
    for leftover in folder.glob(".*.partial"):
        if not _OURS.match(leftover.name[1:]):
            continue
        try:
            if time.time() - leftover.stat().st_mtime > STALE_S:
                leftover.unlink()
        except FileNotFoundError:
            continue
