"""Internals of other libraries that are read or patched, all of them, each with the version it was written for.

Where a name is gone in another version, what is done instead is slower and right; tests/bench/core/test_compat.py fails
then, to say so. One kind cannot stand here: `run/generate.py` derives from lm-eval 0.4.13's `HFLM` and overrides its
`_model_generate` and `_loglikelihood_tokens`: if HFLM calls them no more, it generates in its own, slower way. It also
overrides `tok_encode`, `tok_batch_encode` and `tok_decode`, which tests/bench/run/test_tokens.py holds HFLM to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import UserError

_ROWS_OF_A_PRODUCT = 128  # that a layout is made for; fewer and more are multiplied by it as well


@contextmanager
def one_sequence_a_row() -> Iterator[None]:
    """Tell transformers that each row of a batch holds one sequence.

    Else it compares the positions at each forward pass, and the host waits for the GPU's answer.
    transformers 5.23: `masking_utils.find_packed_sequence_indices`, called by name. Without it: transformers looks.
    """
    from transformers import masking_utils  # not before a model is loaded: a plan needs none

    name = "find_packed_sequence_indices"
    if not hasattr(masking_utils, name):
        yield
        return
    original = getattr(masking_utils, name)
    setattr(masking_utils, name, _no_packed_sequences)
    try:
        yield
    finally:
        setattr(masking_utils, name, original)


def _no_packed_sequences(position_ids: Tensor) -> None:
    return None


@contextmanager
def templates_compiled_once() -> Iterator[None]:
    """Compile each of a task's few prompt templates once, where lm-eval compiles it anew for every question.

    lm-eval 0.4.13: `lm_eval.utils.env`, its jinja environment. Without it: as lm-eval does.
    """
    from lm_eval import utils

    environment = getattr(utils, "env", None)
    if environment is None:
        yield
        return
    original = environment.from_string
    environment.from_string = lru_cache(original)
    try:
        yield
    finally:
        environment.from_string = original


def shard_questions(lm: Any, index: int, size: int) -> None:
    """Let lm-eval's evaluator share its questions out among processes.

    lm-eval 0.4.13: `_rank` and `_world_size` of its models, and their `accelerator`, which gathers the answers. Without
    them: every process answers all questions.
    """
    if not (hasattr(lm, "_rank") and hasattr(lm, "_world_size")):
        return
    from accelerate import Accelerator

    lm._rank, lm._world_size = index, size
    lm.accelerator = Accelerator(cpu=lm.device.type == "cpu")


def task_settings(manager: Any, name: str) -> dict[str, Any]:
    """What a task's YAML says, its functions imported; empty for a task that has no YAML.

    lm-eval 0.4.13: `lm_eval.tasks._yaml_loader.load_yaml`. Without it: the settings of the loaded task, which fetches
    the task's own questions first.
    """
    path: Path | None = manager.task_index[name].yaml_path
    if path is None:
        return {}
    try:
        from lm_eval.tasks._yaml_loader import load_yaml
    except ImportError:
        (task,) = manager.load([name])["tasks"].values()
        settings = task.config.to_dict(keep_callable=True)
        return {key: value for key, value in settings.items() if value is not None}
    return dict(load_yaml(path, resolve_func=True))


@contextmanager
def without_pickles() -> Iterator[None]:
    """Let nothing be read by `torch.load`, which reads pickles, while a model is loaded.

    transformers 5.23 reads .bin files with it, of weights and of adapters beside them. It is torch's public name.
    """
    original = torch.load

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise UserError("a pickle was to be read, which can run code; take a copy of the model in safetensors")

    torch.load = refuse
    try:
        yield
    finally:
        torch.load = original


def default_generation_settings() -> dict[str, Any]:
    """What transformers takes where neither a caller nor a model sets a generation setting.

    transformers 5.23: `GenerationConfig._get_default_generation_params`. Without it: none is known.
    """
    from transformers import GenerationConfig

    read = getattr(GenerationConfig, "_get_default_generation_params", None)
    return {} if read is None else dict(read())


def gguf_pre_tokenizers() -> set[str]:
    """Ways to split text, by the names that GGUF has for them, that transformers knows how to follow.

    transformers 5.23: `integrations.gguf.gguf_tokenizer_mapping.GGUF_PRE_TOKENIZER_SPLITS`. Without it: none, so that
    such a file is refused.
    """
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:
        return set()
    return set(GGUF_PRE_TOKENIZER_SPLITS)


def packed_product(layer: nn.Linear) -> Callable[[Tensor], Tensor] | None:
    """What a linear layer on a CPU computes, by weights laid out once in place of at each call; without gradients.

    torch 2.13: `torch.ops.mkldnn._reorder_linear_weight` and `_linear_pointwise`, by which compiled code multiplies.
    Without them, or on a processor that they do not know: None.
    """
    ops = torch.ops.mkldnn
    try:
        if not ops._is_mkldnn_bf16_supported():
            return None
        weight = ops._reorder_linear_weight(layer.weight.detach(), _ROWS_OF_A_PRODUCT)
    except (AttributeError, RuntimeError):
        return None
    bias, d_out = layer.bias, layer.out_features

    def product(x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y: Tensor = ops._linear_pointwise(rows, weight, bias, "none", [], "")
        return y.view(*x.shape[:-1], d_out)

    return product


def has_hooks(module: nn.Module) -> bool:
    """Whether a module computes more than its own forward: an adapter, or a layer that accelerate moves.

    torch 2.13: `_forward_hooks` and `_forward_pre_hooks`; accelerate 1.15: `_hf_hook`. Without the first two: it may.
    """
    hooks = [getattr(module, name, None) for name in ("_forward_hooks", "_forward_pre_hooks")]
    replaced = hasattr(module, "_hf_hook") or "forward" in vars(module)
    return replaced or any(own is None or len(own) > 0 for own in hooks)


def prepared_hub_set(name: str, config: str, split: str, commit: str) -> list[Path]:
    """The files of a hub set's split that `datasets` prepared from a commit before; none where it did not.

    Offline, `load_dataset` reads the latest that it prepared, whatever revision it is called with.
    datasets 5.2: HF_DATASETS_CACHE/org___name/config/version/commit/name-split.arrow, or -split-00000-of-00002.
    Without them: `load_dataset` reads what it has, and the caller compares commits.

    Args:
        config: of the set; empty for the only one there is.
    """
    from datasets import config as settings
    from datasets.naming import camelcase_to_snakecase

    organisation, _, short = name.partition("/")
    root = Path(settings.HF_DATASETS_CACHE) / f"{organisation}___{camelcase_to_snakecase(short)}"
    folders = [folder for folder in root.glob(f"{config or '*'}/*/{commit}") if folder.is_dir()]
    if len(folders) != 1:
        return []
    named = re.compile(rf".*-{re.escape(split)}(-\d+-of-\d+)?\.arrow")
    return sorted(file for file in folders[0].iterdir() if named.fullmatch(file.name))


def commits_in(dataset: Any) -> list[str]:
    """What names the commit that a loaded split was prepared from, among other things; empty for data without files.

    datasets 5.2: the name of its files' folder, and the addresses in `info.download_checksums`. Without them: nothing.
    """
    folders = [Path(file["filename"]).parent.name for file in getattr(dataset, "cache_files", [])]
    addresses = getattr(getattr(dataset, "info", None), "download_checksums", None) or {}
    matches = [re.match(r"hf://datasets/[^@]+@([^/]+)/", str(address)) for address in addresses]
    return [*folders, *(match[1] for match in matches if match is not None)]


@contextmanager
def tied_as_they_are(model: Any) -> Iterator[None]:
    """Keep lm-eval from tying embeddings and head anew: an adapter can stand on them, and they are tied already.

    lm-eval 0.4.13: `HFLM.__init__` calls `model.tie_weights()`.
    """
    model.tie_weights = lambda *arguments, **options: None
    try:
        yield
    finally:
        del model.tie_weights
