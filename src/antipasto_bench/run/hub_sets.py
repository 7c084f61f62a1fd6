"""Data sets of the Hugging Face hub: which commit is read, online or from the cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..core.compat import commits_in, prepared_hub_set
from ..core.errors import UserError, first_line
from ..core.hub import go_offline_if_unreachable

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TEXT_ENDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
FILE_ENDS = (".parquet", *_TEXT_ENDS, *(f"{end}.gz" for end in _TEXT_ENDS))


def is_hub_id(name: str) -> bool:
    """Whether a string has the form of a hub id, org/name, and is no file's name."""
    return _HUB_ID.fullmatch(name) is not None and not name.endswith(FILE_ENDS)


def load_hub_set(reference: str, split: str, revision: str | None, setting: str) -> Any:
    """A split of a hub set, as `datasets` has it.

    Args:
        reference: `org/name`, or `org/name:config`.
        revision: branch, tag or commit; the main branch where None.
        setting: the config field that `revision` comes from, for messages.

    Raises:
        UserError: neither the hub nor its cache gives it, or not at this revision.
    """
    from datasets import Dataset, concatenate_datasets, load_dataset

    name, _, config = reference.partition(":")
    if not is_hub_id(name):
        raise UserError(f"{reference}: no such file or folder, and not a hub id (org/name)")
    go_offline_if_unreachable()
    commit = None if revision is None else resolved_commit(name, revision, setting)
    if commit is not None and (files := prepared_hub_set(name, config, split, commit)):
        return concatenate_datasets([Dataset.from_file(str(file)) for file in files])
    try:
        loaded = load_dataset(name, config or None, split=split, revision=commit)
    except Exception as error:  # the hub's client has no common base for being offline, absent or gated
        raise UserError(
            f"{reference}: no such file here, and the hub gave no data set of that name ({first_line(error)}); "
            "go online once to fill the cache, or give a file (.jsonl, .json, .csv, .parquet) or a folder by its path"
        ) from error
    if commit is not None:
        check_commit(loaded, commit, reference, setting)
    return loaded


def resolved_commit(name: str, revision: str, setting: str) -> str:
    """The commit that a branch or tag of a hub set stands for now, or stood for when the cache was filled.

    Raises:
        UserError: neither the hub nor its cache knows the revision.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        commit = HfApi().dataset_info(name, revision=revision, timeout=10).sha
    except Exception as error:  # offline, or whatever the hub answers
        reason = first_line(error)
        readme = try_to_load_from_cache(name, "README.md", revision=revision, repo_type="dataset")
        commit = Path(readme).parent.name if isinstance(readme, str) else None  # .../snapshots/COMMIT/README.md
    else:
        reason = "it has no commit"
    if commit is None:
        raise UserError(
            f"{setting}={revision}: neither the hub nor its cache knows this revision of {name} ({reason}); "
            f"go online once to fill the cache, or write {setting}=COMMIT, all 40 digits of it"
        )
    return commit


def check_commit(loaded: Any, commit: str, reference: str, setting: str) -> None:
    """Refuse a set of another commit than the one wanted: offline, `datasets` takes the latest in its cache.

    Raises:
        UserError: it is of another commit, or does not say of which.
    """
    read = commit_of(loaded)
    if read != commit:
        raise UserError(
            f"{setting}: {reference} was wanted at commit {commit[:12]}, and the cache gave "
            f"{'an unknown one' if read is None else read[:12]}; go online once to fill the cache"
        )


def commit_of(loaded: Any) -> str | None:
    """The commit of a hub set that was loaded, one split of it or all; None for other data."""
    splits = loaded.values() if isinstance(loaded, dict) else [loaded]
    names = (name for split in splits for name in commits_in(split))
    return next((name for name in names if _COMMIT.fullmatch(name)), None)
