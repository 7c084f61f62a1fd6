"""Where on this machine the files of a recorded run lie: its record has their names and digests alone."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from ..core.errors import UserError
from ..core.fingerprint import model_fingerprint
from ..core.paths import locate
from ..core.places import recorded_name, shown_name
from ..core.yaml_files import read_mapping
from ..spec.config import RunConfig
from ..spec.references import PLACES, references, with_references
from ..store.folders import Store
from ..store.record import RunRecord
from .hub_sets import is_hub_id

Places = Mapping[str, str]  # paths by setting, such as `model` and `data.train`, in place of those of the run's folder


def runnable_config(
    record: RunRecord, store: Store, places: Places | None = None, trust_remote_code: bool = False
) -> RunConfig:
    """The config of a recorded run, on a device of this machine and with paths of this machine.

    Args:
        places: where files lie that were moved, or that a run of another machine was made with.
        trust_remote_code: whether the model's own Python files may run. That a row says so is no user's word.

    Raises:
        UserError: the model of the recorded digest is not here, or needs code of its own; or a setting in `places`
            names no file.
    """
    run = record.config.model_copy(update={"device": "auto"})
    if run.trust_remote_code and not trust_remote_code:
        raise UserError(
            f"{record.run_id}: model={run.model} brings its own Python files; if you have read them, give the same "
            "command with --trust-remote-code"
        )
    names, given = references(run), dict(places or {})
    for setting in given:
        if setting not in names:
            raise UserError(f"{setting}=: {record.run_id} has no such file; it has {', '.join(names)}")
    noted = _noted(record.run_id, store)
    values = {
        setting: path
        for setting, path in (noted | given).items()
        if setting in given or recorded_name(path) == recorded_name(names.get(setting, ""))
    }
    candidates = [given["model"]] if "model" in given else [*filter(None, [noted.get("model")]), run.model]
    source = record.provenance.model.source if record.provenance and record.provenance.model else None
    here = [model for model in candidates if source is not None and model_fingerprint(model) == source]
    if not here:
        raise UserError(_missing_model(record, source, given.get("model"), noted.get("model"), store))
    return with_references(run, {**names, **values, "model": here[0]})


def _noted(run_id: str, store: Store) -> dict[str, str]:
    """The paths in the config file of a run's own folder; none where it is not on this machine."""
    try:
        return references(RunConfig.model_validate(read_mapping(store.run_folder(run_id).config)))
    except (OSError, UserError, ValidationError):
        return {}


def _missing_model(record: RunRecord, source: str | None, given: str | None, noted: str | None, store: Store) -> str:
    """One line: which model of which digest is not here, and how to name it."""
    digest = "an unknown digest" if source is None else source[:23]
    wanted = f"{record.run_id} was made with the model {record.config.model} of {digest}"
    if given is not None:
        return f"model={given}: {'another model' if locate(given) else 'no such folder'}; {wanted}"
    if noted is not None and locate(noted) is not None:
        return f"{wanted}, and {noted} holds another; name the folder of that model: model=PATH"
    why = (
        f"{noted} is gone"
        if noted is not None
        else f"{store.run_folder(record.run_id).config} does not name its folder"
    )
    return f"{wanted}, and {why}; name it: model=PATH"


def require_data(record: RunRecord, run: RunConfig, settings: Mapping[str, str]) -> None:
    """Refuse to go on where a file that the run's data came from is not here.

    Args:
        run: its config for this machine.
        settings: those that are needed, with the entry of each in the provenance, such as `train`.

    Raises:
        UserError: one line that says which file of which digest, and how to name it.
    """
    values = references(run)
    for setting, kind in settings.items():
        reference = values.get(setting)
        if reference is None or locate(reference) is not None or is_hub_id(reference.partition(":")[0]):
            continue
        digest = record.provenance.data.get(kind) if record.provenance else None
        of = "" if digest is None else f", whose {digest.rows} rows have sha256 {digest.sha256[:12]},"
        raise UserError(
            f"{record.run_id} was made with {setting}={shown_name(reference)}{of} and that is not on this machine; "
            f"name it: {setting}=PATH"
        )


def check_digest(record: RunRecord, setting: str, kind: str, sha256: str | None) -> None:
    """Refuse data that are not those of the record.

    Args:
        setting: that names the data, for the message.
        kind: its entry in the provenance, such as `train`.
        sha256: of the rows that were read now.

    Raises:
        UserError: the record has another digest.
    """
    recorded = None if record.provenance is None else record.provenance.data.get(kind)
    if recorded is not None and sha256 is not None and recorded.sha256 != sha256:
        raise UserError(
            f"{record.run_id} was made with {setting} of sha256 {recorded.sha256[:12]}, and what was read now is "
            f"{sha256[:12]}; name the file that it was made with: {setting}=PATH"
        )


def read_places(words: list[str]) -> dict[str, str]:
    """Paths from words such as `model=PATH`.

    Raises:
        UserError: a word is no setting with a path.
    """
    places: dict[str, str] = {}
    for word in words:
        setting, equals, path = word.partition("=")
        if not equals or not path or setting not in PLACES:
            raise UserError(f"{word!r}: expected {', '.join(f'{name}=PATH' for name in PLACES)}")
        places[setting] = path
    return places
