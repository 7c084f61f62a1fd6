"""The adapters of the library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

import antipasto
from antipasto.layer import bias_of, lora_tensors

from ...spec.config import RunConfig
from ..examples import Example, collate, with_wrong_numbers
from .adapter import Adapter, Counts


class LibraryAdapter(Adapter):
    """A variant of the library. Its state is the library's own, on the model."""

    def attach(self, run: RunConfig, tokenizer: Any, examples: list[Example]) -> None:
        init = Generator().manual_seed(run.seed + 2**32)  # not the generator of the examples, which all variants share
        cfg = run.adapter_config
        variant = antipasto.REGISTRY[cfg.variant]
        calibration: Any = None
        if cfg.needs_data():
            calibration_examples = examples[: run.data.calibration]
            calibration = self._batches(run, calibration_examples, tokenizer)
            if variant.contrastive:
                wrong = with_wrong_numbers(calibration_examples, tokenizer, run.seed)
                calibration = antipasto.Contrast(calibration, self._batches(run, wrong, tokenizer))
        antipasto.attach(self.base, cfg, calibration, generator=init, dtype=getattr(torch, run.adapter_dtype))

    def _batches(self, run: RunConfig, examples: list[Example], tokenizer: Any) -> Iterator[dict[str, Any]]:
        options: dict[str, Any] = {"use_cache": False}  # nothing is generated
        head = self.base.get_output_embeddings()
        if "logits_to_keep" in signature(self.base.forward).parameters:
            # Logits of all tokens may take more memory than all else, and only an adapter on their layer needs them.
            adapted = antipasto.find_targets(self.base, run.adapter_config).values()
            options["logits_to_keep"] = 0 if head in adapted else 1
        for start in range(0, len(examples), run.batch_size):
            batch = collate(examples[start : start + run.batch_size], tokenizer.pad_token_id)
            yield {key: value for key, value in batch.items() if key != "labels"} | options

    def load(self, run: RunConfig, file: Path) -> None:
        antipasto.load(self.base, file)

    def save(self, file: Path) -> Path:
        return antipasto.save(self.base, file)

    def check_file(self, run: RunConfig, file: Path) -> str | None:
        saved, own = antipasto.read_config(file).canonical(), run.adapter_config.canonical()
        if saved == own:
            return None
        if saved.variant != own.variant:
            return saved.variant
        values = own.to_dict()
        return ", ".join(f"{key}={value}" for key, value in saved.to_dict().items() if values[key] != value)

    def detach(self, *, keep_merged: bool = False) -> None:
        antipasto.detach(self.base, keep_merged=keep_merged)

    def disabled(self) -> AbstractContextManager[Any]:
        return antipasto.disabled(self.base)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        return antipasto.trainable_parameters(self.base)

    def shared_tensors(self) -> Iterator[Tensor]:
        for _, layer in sorted(antipasto.attachment(self.base).targets.items()):
            yield from lora_tensors(layer).values()

    def merge_refusal(self) -> str | None:
        return antipasto.merge_refusal(self.base)

    def merge(self) -> None:
        antipasto.merge(self.base)

    def unmerge(self) -> None:
        antipasto.unmerge(self.base)

    def merge_error(self, batches: Iterable[Any], dtype: torch.dtype | None = None) -> float:
        return antipasto.merge_error(self.base, batches, dtype)

    def counts(self, run: RunConfig) -> Counts:
        cfg, targets = run.adapter_config, antipasto.attachment(self.base).targets.values()
        return Counts(
            parameters=sum(p.numel() for p in self.trainable_parameters().values()),
            macs=sum(antipasto.added_macs(cfg, int(t.in_features), int(t.out_features)) for t in targets),
            targets=len(targets),
        )

    def shape_counts(self, run: RunConfig) -> Counts:
        cfg, dtype = run.adapter_config, getattr(torch, run.dtype)
        variant = antipasto.REGISTRY[cfg.variant]
        targets = antipasto.find_targets(self.base, cfg)
        for name, layer in targets.items():
            try:
                variant.check(layer.in_features, layer.out_features, cfg)
            except antipasto.AdapterError as error:
                raise antipasto.AdapterError(f"{name}: {error}") from error
        counts = Counts(macs=0, targets=len(targets))
        macs = 0
        for target in targets.values():
            d_in, d_out = int(target.in_features), int(target.out_features)
            scratch = nn.Linear(d_in, d_out, bias=bias_of(target) is not None, device="meta", dtype=dtype)
            layer = cast("antipasto.Layer", scratch)
            specs = variant.param_specs(d_in, d_out, cfg)
            antipasto.add_tensors(layer, specs, dtype, trained=getattr(torch, run.adapter_dtype))
            trained = [p for name, p in scratch.named_parameters() if name.startswith("lora_")]
            frozen = [b for name, b in scratch.named_buffers() if name.startswith("lora_")]
            counts.parameters += sum(p.numel() for p in trained)
            macs += variant.added_macs(d_in, d_out, cfg)
            counts.saved_bytes += sum(t.nbytes for t in variant.tensors_to_save(layer, cfg).values())
            counts.frozen_bytes += sum(b.nbytes for b in frozen)
        counts.macs = macs
        return counts

    def in_words(self) -> str:
        """The kinds of layers that have the adapter, and of matrices that all-linear leaves out."""
        state = antipasto.attachment(self.base)
        left_out = antipasto.kinds_left_out(self.base, state.cfg)
        return antipasto.kinds_of(state.targets) + (f"; all-linear leaves out {left_out}" if left_out else "")

    def export_peft(self, folder: Path, base_model: str, revision: str | None) -> Path:
        return antipasto.save_peft(self.base, folder, base_model=base_model, revision=revision)
