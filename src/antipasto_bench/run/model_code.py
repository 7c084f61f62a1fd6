"""Python files that a model brings: run where a user says trust_remote_code=true, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import UserError
from ..core.model_files import (
    SETTINGS,
    code_digest,
    own_code,
    read_settings,
    refuse_foreign_code,
    refuse_pickles,
)
from ..spec.config import RunConfig

SETTINGS_OF_HUB = SETTINGS[:2]
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_model_files(run: RunConfig, place: Path | None) -> None:
    """Refuse a model whose files would run code that the user has not allowed, before any library reads them.

    Args:
        place: the model's folder; None for a model of the hub.

    Raises:
        UserError: it brings Python files and `trust_remote_code` is false; or it is true for a model of the hub without
            a whole commit; or what it brings is of another repository.
    """
    named = f"model={run.model}"
    if place is None and run.trust_remote_code and not _COMMIT.fullmatch(run.revision or ""):
        raise UserError(
            f"{named}: trust_remote_code=true runs code of the hub; write revision=COMMIT, all 40 digits of the commit "
            "whose code you have read"
        )
    for name in SETTINGS if place is not None else SETTINGS_OF_HUB:
        settings = read_settings(place / name if place is not None else _from_hub(run.model, run.revision, name))
        refuse_foreign_code(settings, named)
        if own_code(settings) and not run.trust_remote_code:
            raise UserError(
                f"{named}: it brings its own Python files ({name}: {own_code(settings)[0]}), which are not run; if you "
                "have read them, write trust_remote_code=true"
            )


def check_weight_files(run: RunConfig, place: Path | None) -> None:
    """Refuse a folder whose weights are pickles; of the hub, loading takes safetensors alone.

    Raises:
        UserError: see `refuse_pickles`.
    """
    if place is not None:
        refuse_pickles(place, f"model={run.model}")


def remote_code_digest(run: RunConfig, place: Path | None) -> str | None:
    """The digest of the model's own Python files where they were run; None where none was.

    Args:
        place: the model's folder; None for a model of the hub.
    """
    if not run.trust_remote_code:
        return None
    config = place / "config.json" if place is not None else _from_hub(run.model, run.revision, "config.json")
    return None if config is None else code_digest(config.parent)


def _from_hub(model: str, revision: str | None, name: str) -> Path | None:
    """A small file of a hub model, from the cache or else the hub; None where it is in neither.

    Loading says so then, and runs nothing: it is told `trust_remote_code` too.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(model, name, revision=revision)
    if cached is None and name == SETTINGS_OF_HUB[0]:  # where that one is not to be had, neither are others
        try:
            cached = hf_hub_download(model, name, revision=revision)
        except Exception:  # offline, gated, absent
            return None
    return Path(cached) if isinstance(cached, str) else None
