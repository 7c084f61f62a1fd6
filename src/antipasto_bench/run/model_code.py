"""Python files that a model brings: run where a user says trust_remote_code=true, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import UserError
from ..core.foreign_code import (
    SETTINGS,
    code_digest,
    own_code,
    read_settings,
    refuse_foreign_code,
    refuse_pickles,
)
from ..spec.config import RunConfig

ADAPTER = "adapter_config.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_model_files(run: RunConfig, place: Path | None) -> None:
    """Refuse a model whose files would run code that the user has not allowed, before any library reads them.

    Args:
        place: the model's folder; None for a model of the hub.

    Raises:
        UserError: it brings Python files and `trust_remote_code` is false; or it is true for a model of the hub without
            a whole commit; or what it brings is of another repository; or it is an adapter, whose base is one.
    """
    named = f"model={run.model}"
    if place is None and run.trust_remote_code and not _COMMIT.fullmatch(run.revision or ""):
        raise UserError(
            f"{named}: trust_remote_code=true runs code of the hub; write revision=COMMIT, all 40 digits of the commit "
            "whose code you have read"
        )
    for name in SETTINGS:
        settings = read_settings(place / name if place is not None else _from_hub(run, name))
        refuse_foreign_code(settings, named)
        if place is None and name == ADAPTER and settings:
            raise UserError(
                f"{named}: it is a PEFT adapter of {settings.get('base_model_name_or_path') or 'an unnamed base'}, not "
                "a whole model; name the base itself, or the folder that the two were merged into"
            )
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
    config = place / "config.json" if place is not None else _from_hub(run, "config.json")
    return None if config is None else code_digest(config.parent)


def _from_hub(run: RunConfig, name: str) -> Path | None:
    """A small file of a hub model, from the cache or else the hub; None where it is in neither.

    Those of tokenizers are fetched only where code may run, since they can name code of another repository. Elsewhere
    loading refuses what they name: it is given `trust_remote_code` too.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(run.model, name, revision=run.revision)
    if cached is None and (run.trust_remote_code or name in (SETTINGS[0], ADAPTER)):
        try:
            cached = hf_hub_download(run.model, name, revision=run.revision)
        except Exception:  # offline, gated, absent
            return None
    return Path(cached) if isinstance(cached, str) else None
