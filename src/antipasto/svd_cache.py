"""Singular value decompositions, cached on disk.

The key of an entry is the sha256 of the matrix's own bytes with its dtype and shape, so that a stale entry cannot be
read. It is written atomically, and checked against its own digest when it is read: many processes can share a cache,
and a damaged entry is computed again, with a warning, as is one that is not finite. Above its size limit the least
recently used entries are removed.

ANTIPASTO_CACHE names its folder (`off` for no cache); ANTIPASTO_CACHE_GB is its size limit in gigabytes, by default 8.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor

from .config import AdapterError
from .decompositions import SVDFactors, non_finite, uncached_svd
from .files import atomically, read_regular
from .tensor_bytes import memory_of, safetensors_bytes
from .variant import at_least_float32

_ENTRY = re.compile(r"[0-9a-f]{64}")
STALE_S = 3600  # partial files of killed writers are removed after an hour


def svd(W: Float[Tensor, "d_out d_in"]) -> SVDFactors:
    """The thin SVD of a matrix, computed in at least float32, on its device; read from the cache where it holds it.

    Raises:
        AdapterError: the matrix holds NaN or inf; nothing is cached then.
    """
    folder = cache_folder()
    if folder is None or W.is_meta:
        return _compute(W)
    entry = folder / f"{_key(W)}.safetensors"
    factors = _read(entry)
    if factors is None:
        factors = _compute(W)
        _write(entry, factors)
    return SVDFactors(*(tensor.to(W.device) for tensor in factors))


def cache_folder() -> Path | None:
    """The folder of the entries; None where nothing is cached."""
    folder = os.environ.get("ANTIPASTO_CACHE")
    if folder == "off":
        return None
    if folder:
        return Path(os.path.expanduser(folder))
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "antipasto" / "svd"


def cache_limit() -> int:
    """The size limit of all entries, in bytes.

    Raises:
        AdapterError: ANTIPASTO_CACHE_GB is not a number of at least 0.
    """
    gigabytes = os.environ.get("ANTIPASTO_CACHE_GB", "8")
    try:
        limit = float(gigabytes)
    except ValueError:
        limit = -1
    if not 0 <= limit < float("inf"):
        raise AdapterError(f"ANTIPASTO_CACHE_GB={gigabytes!r}: expected a number of gigabytes, such as 8")
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
    return uncached_svd(at_least_float32(W.detach()))


def _key(W: Tensor) -> str:
    data = W.detach().contiguous().cpu()
    digest = hashlib.sha256(f"{data.dtype} {tuple(data.shape)} ".encode())
    digest.update(memory_of(data))
    return digest.hexdigest()


def _digest(key: str, factors: SVDFactors) -> Tensor:
    digest = hashlib.sha256(key.encode())  # so that a file renamed to another key counts as damaged
    for tensor in [factor.contiguous() for factor in factors]:  # alive while its memory is read
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(memory_of(tensor))
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _read(entry: Path) -> SVDFactors | None:
    try:
        # Read at once, not mapped: another process may remove the file at any time.
        tensors = from_bytes(read_regular(entry))
        digest = tensors.pop("sha256")
        factors = SVDFactors(**tensors)
        if not torch.equal(digest, _digest(entry.stem, factors)):
            raise ValueError("its content does not match its digest")
        if non_finite(tensors.items()):
            raise ValueError("it holds NaN or inf")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        warnings.warn(f"{entry} is damaged and will be computed again: {error}", stacklevel=3)
        return None
    with suppress(OSError):  # another process removed it, or the cache is read-only
        os.utime(entry)  # the time of its last use
    return factors


def _write(entry: Path, factors: SVDFactors) -> None:
    factors = SVDFactors(*(tensor.detach().cpu().contiguous() for tensor in factors))
    limit = cache_limit()
    if sum(tensor.nbytes for tensor in factors) > limit:
        return
    try:
        with atomically(entry, flush=False) as partial:
            partial.write_bytes(safetensors_bytes(factors._asdict() | {"sha256": _digest(entry.stem, factors)}))
        _remove_oldest(entry.parent, limit)
    except OSError as error:  # without a cache everything still works, only slower
        warnings.warn(f"an SVD could not be kept in {entry.parent}: {error.strerror}", stacklevel=4)


def _by_age(folder: Path) -> list[tuple[float, int, Path]]:
    entries = []
    for path in folder.glob("*.safetensors"):
        if not _ENTRY.fullmatch(path.stem):
            continue  # not an entry: the folder may hold other files
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # another process removed it
        entries.append((status.st_mtime, status.st_size, path))
    return sorted(entries)


def _remove_oldest(folder: Path, limit: int) -> None:
    entries = _by_age(folder)
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size
    for partial in folder.glob(".*.partial"):
        if not _ENTRY.match(partial.name[1:]):
            continue
        try:
            if time.time() - partial.stat().st_mtime > STALE_S:
                partial.unlink()
        except FileNotFoundError:
            continue
