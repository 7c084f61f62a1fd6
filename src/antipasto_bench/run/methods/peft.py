"""A tuner type of PEFT on a model, through PEFT's own code.

Tuners of layers change the base in its place, and the base itself is called. What stands before a prompt needs PEFT's
model around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import antipasto
from antipasto.config import AdapterError
from antipasto.merging import relative_error
from antipasto.peft_format import new_folder
from antipasto.quantised import quantisation

from ...core.errors import first_line
from ...core.json_types import Json
from ...spec.config import RunConfig
from ...spec.methods.peft import PeftMethod
from ..examples import Example
from . import peft_files
from .adapter import ADAPTER, Adapter, Counts
from .flops import added_macs, prompt_macs
from .peft_calls import orthogonality, quiet_peft, quietly
from .peft_optimizers import optimizer_of
from .peft_state import Snapshot, checksums_of, named_tensors, seeded

NAME = "default"  # of the adapter in PEFT's model, without which it would be loaded under another
CHANGED_IN_PLACE = ("olora", "pissa", "loftq", "corda")  # inits of LoRA that overwrite the base's own weights


class PeftAdapter(Adapter):
    """A tuner type of PEFT.

    Attributes:
        peft: PEFT's model around the base, while it is attached.
    """

    peft: Any

    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self._before: Snapshot | None = None  # of the base, without an adapter
        self._unmerged: Snapshot | None = None  # of the whole, while it is merged
        self._trained: dict[str, nn.Parameter] = {}
        self.changed: list[str] = []  # tensors of the base that attaching overwrote

    def attach(self, run: RunConfig, tokenizer: Any, examples: list[Example]) -> None:
        self._put(run)
        if text := run.adapter.get("init_kv_cache_prefix"):
            self._begin_with(text, tokenizer)

    def _begin_with(self, text: str, tokenizer: Any) -> None:
        """Set the cache of prefix tuning to the model's own, of the beginning of a text."""
        from peft.tuners.cartridge.utils import initialize_kv_prefix_from_text

        try:
            with quiet_peft(), self.disabled():
                initialize_kv_prefix_from_text(self.peft, tokenizer, text=text, use_chat_template=False)
        except ValueError as error:
            self.detach()
            raise AdapterError(f"init_kv_cache_prefix: {first_line(error)}") from error

    def _put(self, run: RunConfig, **options: Any) -> None:
        self._method = _method_of(run)
        config = self._method.config(run.adapter, run.steps)
        init = str(getattr(config, "init_lora_weights", ""))
        before = Snapshot.of(self.base, copies=init.startswith(CHANGED_IN_PLACE))
        sums = checksums_of(named_tensors(self.base))
        training = self.base.training
        if self._method.kind == "adaption_prompt" and config.adapter_layers is None:
            config.adapter_layers = self.base.config.get_text_config().num_hidden_layers
        try:
            with seeded(run.seed + 2**32), quiet_peft():
                self.peft = _get_peft_model(self.base, config, run, options)
        except Exception as error:  # whatever PEFT raises where a config does not fit a model
            before.restore()
            raise AdapterError(first_line(error)) from error
        self._before, self._config = before, self.peft.peft_config[NAME]
        self._variant, self._settings = run.variant, run.adapter
        self.model = self.peft if self._method.is_prompt else self.base
        self.takes_padding = self._method.kind not in ("prompt_tuning", "p_tuning")  # others see positions alone
        self.mixes_tokens = self._method.kind == "lily"  # its router's weights are means over all tokens
        self.model.train(training)
        own = {name: tensor for name, (tensor, _, _) in before.tensors.items()}
        self.changed = [name for name, value in checksums_of(own).items() if sums[name] != value]
        self._trained = {name: p for name, p in self.peft.named_parameters() if p.requires_grad}
        if self._method.is_prompt:
            self.peft._adjust_prompt_learning_kwargs = quietly(self.peft._adjust_prompt_learning_kwargs)
        for model in (self.base, self.peft):
            setattr(model, ADAPTER, self)

    def load(self, run: RunConfig, file: Path) -> None:
        saved = peft_files.read(file)
        self._put(run)
        try:
            peft_files.put_back(saved, self.peft, self._own_tensors(), self._base_modules(), self._config)
        except AdapterError:
            self.detach()
            raise

    def save(self, file: Path) -> Path:
        return peft_files.write(
            file, self._variant, self._settings, self.peft, self._own_tensors(), self._base_modules(), self._config
        )

    def check_file(self, run: RunConfig, file: Path) -> str | None:
        saved = peft_files.read(file)
        if saved.variant != run.variant:
            return saved.variant
        other = {key: value for key, value in saved.settings.items() if run.adapter.get(key) != value}
        return ", ".join(f"{key}={value}" for key, value in other.items()) or None

    def _own_tensors(self) -> dict[str, Tensor]:
        """Every tensor that is not the base's, and those of the base that attaching overwrote; each once."""
        assert self._before is not None
        base = self._before.ids - {id(self._before.tensors[name][0]) for name in self.changed}
        own: dict[str, Tensor] = {}
        places = set()
        for name, tensor in named_tensors(self.peft).items():
            place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if id(tensor) not in base and (tensor.numel() == 0 or tensor.is_meta or place not in places):
                own[name] = tensor
                places.add(place)
        return own

    def _base_modules(self) -> set[int]:
        assert self._before is not None
        return {id(module) for module, _ in self._before.modules}

    def detach(self, *, keep_merged: bool = False) -> None:
        assert self._before is not None
        if keep_merged:
            with quiet_peft():
                self.peft.base_model.unload()
            self._forget()
            for parameter in self.base.parameters():
                parameter.requires_grad_(False)
            return
        if self._unmerged is not None:
            self.unmerge()
        self._before.restore()
        self._forget()

    def _forget(self) -> None:
        vars(self.base).pop(ADAPTER, None)
        self.model, self._before, self._unmerged, self._trained = self.base, None, None, {}
        del self.peft

    @contextmanager
    def disabled(self) -> Iterator[None]:
        flags = {p: p.requires_grad for p in self.peft.parameters()}
        overwritten = self._overwritten()
        changed = [(tensor, tensor.data) for tensor, _ in overwritten]
        with self.peft.disable_adapter():
            for tensor, values in overwritten:
                tensor.data = values
            try:
                yield
            finally:
                for tensor, values in changed:
                    tensor.data = values
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)

    def _overwritten(self) -> list[tuple[Tensor, Tensor]]:
        """The base's tensors that attaching overwrote, with what they held before."""
        assert self._before is not None
        return [self._before.tensors[name][:2] for name in self.changed]

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self._trained)

    def shared_tensors(self) -> Iterator[Tensor]:
        yield from (tensor for _, tensor in sorted(self._own_tensors().items()))

    def optimizer(self, run: RunConfig) -> torch.optim.Optimizer:
        made = optimizer_of(run, self.peft, self._trained)
        if run.optimizer == "lora-fa":  # which freezes A
            self._trained = {name: p for name, p in self._trained.items() if p.requires_grad}
        return made

    def penalty(self) -> Tensor | None:
        tuner, config = self.peft.base_model, self._config
        if self._method.kind == "adalora":
            return orthogonality(tuner)
        penalties = []
        if getattr(config, "kasa_config", None) is not None:
            penalties.append(tuner._get_kasa_loss())
        if getattr(config, "monteclora_config", None) is not None:
            penalties.append(tuner._get_monteclora_loss())
        return sum(penalties) if penalties else None

    def after_step(self, step: int) -> None:
        if not self._method.is_prompt and hasattr(self.peft.base_model, "update_and_allocate"):
            self.peft.base_model.update_and_allocate(step)

    def merge_refusal(self) -> str | None:
        if not self._method.mergeable:
            return f"{self._variant} is no change of the model's weights"
        try:
            self.merge()
        except AdapterError as error:
            return str(error)
        self.unmerge()
        return None

    @torch.no_grad()
    def merge(self) -> None:
        """As `Adapter.merge`. PEFT adds in place, and subtracts to undo it: here it is given copies to add to."""
        for layer in self._layers().values():
            if bits := quantisation(layer.get_base_layer()):
                raise AdapterError(f"the base is quantised ({bits}), and PEFT would round merged weights again")
        self._unmerged = Snapshot.of(self.peft)
        for layer in self._layers().values():
            for tensor in named_tensors(layer).values():
                if id(tensor) in self._unmerged.ids:
                    tensor.data = tensor.data.clone()
        try:
            with quiet_peft():
                self.peft.base_model.merge_adapter()
        except Exception as error:  # a tuner that cannot says so by an error of any kind
            self.unmerge()
            raise AdapterError(f"PEFT does not merge it: {first_line(error)}") from error

    def unmerge(self) -> None:
        assert self._unmerged is not None
        for layer in self._layers().values():
            layer.merged_adapters.clear()
        self._unmerged.restore()
        self._unmerged = None

    @torch.no_grad()
    def merge_error(self, batches: Iterable[Any], dtype: torch.dtype | None = None) -> float:
        return relative_error(self.base, batches, self.disabled, lambda: self._merged(dtype))

    @contextmanager
    def _merged(self, dtype: torch.dtype | None) -> Iterator[None]:
        self.merge()
        try:
            if dtype is not None:
                for layer in self._layers().values():
                    for tensor in layer.get_base_layer().parameters():
                        tensor.data = tensor.data.to(dtype).to(tensor.dtype)
            yield
        finally:
            self.unmerge()

    def _layers(self) -> Json:
        """PEFT's layers in the base, by path."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        return {name: module for name, module in self.base.named_modules() if isinstance(module, BaseTunerLayer)}

    def _adapted(self) -> list[str]:
        """Paths of what is adapted in the base."""
        own = {"AdaptedAttention"} if self._method.kind == "adaption_prompt" else set()
        return [*self._layers(), *(name for name, each in self.base.named_modules() if type(each).__name__ in own)]

    def counts(self, run: RunConfig) -> Counts:
        if self._method.is_prompt:
            macs: int | None = prompt_macs(self.base.config, self._config.num_virtual_tokens)
        else:
            macs = added_macs(self.model, self.disabled)
        trained = sum(p.numel() for p in self._trained.values())
        return Counts(parameters=trained, macs=macs, targets=len(self._adapted()))

    def shape_counts(self, run: RunConfig) -> Counts:
        try:
            with torch.device("meta"):
                self._put(run, low_cpu_mem_usage=not _method_of(run).is_prompt)
        except AdapterError:  # an init that looks at values of its own; the base's are not there in any case
            self._put(run)
        if run.optimizer == "lora-fa":
            self.optimizer(run)
        own = self._own_tensors()
        saved = sum(tensor.nbytes for tensor in own.values())
        trained = sum(p.nbytes for p in self._trained.values())
        counts = self.counts(run)
        counts.saved_bytes, counts.frozen_bytes = saved, saved - trained
        return counts

    def in_words(self) -> str:
        if self._method.is_prompt:
            return f"{self._config.num_virtual_tokens} virtual tokens before each prompt"
        return antipasto.kinds_of(self._adapted())

    def export_peft(self, folder: Path, base_model: str, revision: str | None) -> Path:
        if str(getattr(self._config, "init_lora_weights", "")).startswith("pissa_niter"):
            raise AdapterError("PEFT draws the init of pissa_niter anew where it loads; export the merged model")
        self._config.base_model_name_or_path, self._config.revision = base_model, revision
        with new_folder(folder) as partial, quiet_peft():
            self.peft.save_pretrained(partial)
        return folder.resolve()


def _method_of(run: RunConfig) -> PeftMethod:
    method = run.method
    assert isinstance(method, PeftMethod)
    return method


def _get_peft_model(base: Any, config: Any, run: RunConfig, options: Json) -> Any:
    from peft import get_peft_model

    in_float32 = run.adapter_dtype == "float32"
    return get_peft_model(base, config, adapter_name=NAME, autocast_adapter_dtype=in_float32, **options)
