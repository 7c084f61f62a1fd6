"""Digests of a run's files, in its row: what is read later is what was written, to the last bit.

The adapter's has a field of its own, `adapter_sha256`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..core.files import read_regular
from ..core.fingerprint import sha256_of
from .run_folder import RunFolder

ITEMS = "items.parquet"  # in results/items, too
SAMPLES, LOG, CONFIG = "samples.jsonl", "log.jsonl", "config.yaml"
KINDS = "kinds.json"  # of a run whose test questions have kinds; in results/kinds, too
FILES = (ITEMS, SAMPLES, LOG, CONFIG, KINDS)  # of a run's folder in outputs/
EXCERPTS = "excerpts.json"  # in results/runs


def file_digests(folder: RunFolder) -> dict[str, str]:
    """sha256 of each file that a finished run's folder holds beside the adapter and the record."""
    return {name: sha256_of(folder.path / name) for name in FILES if (folder.path / name).exists()}


def read_checked(path: Path, digest: str | None) -> bytes:
    """The content of a file of a run.

    Args:
        digest: that its row has of it; older rows do not have it, and nothing is checked then.

    Raises:
        ValueError: it is missing, cannot be read, or is not what was written.
    """
    try:
        content = read_regular(path)
    except FileNotFoundError as error:
        raise ValueError("is missing") from error
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if digest is not None and hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("is not what its row was made from")
    return content
