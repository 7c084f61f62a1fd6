"""The model as lm-eval asks it: answers are those of lm-eval's own Hugging Face model, in less time.

`eval.backend` says how they are generated:

    hf          batch by batch; each answer ends where it ends, and a batch with its last
    static      the same with a cache of fixed size, whose steps transformers compiles on a GPU
    continuous  the place of an answer that has ended goes to the next question at once
    vllm        by vLLM, on the merged weights; on a GPU
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from transformers import ContinuousBatchingConfig, GenerationConfig, StoppingCriteriaList, StopStringCriteria

from .config import EvalConfig

MOST_ON_GPU = 512  # questions at once, however much memory is free
A_THREAD = 128  # questions at once for each thread of a CPU: measured in benchmark/speed/scoring.py
SHARE = 0.7  # of the free memory that is taken to be there


@contextmanager
def scorer(model: Any, tokenizer: Any, config: EvalConfig) -> Iterator[Any]:
    """The model as lm-eval's evaluator takes it.

    Args:
        model: with its adapter folded in, where `config.backend` is vllm.
    """
    if config.backend != "vllm":
        yield Scorer(model, tokenizer, config)
        return
    from lm_eval.models.vllm_causallms import VLLM

    with TemporaryDirectory() as folder:
        plain = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
        model.save_pretrained(folder, state_dict=plain)
        tokenizer.save_pretrained(folder)
        free, total = torch.cuda.mem_get_info()
        lm = VLLM(pretrained=folder, batch_size="auto", gpu_memory_utilization=round(0.9 * free / total, 2))
        try:
            yield lm
        finally:
            del lm
            gc.collect()
            torch.cuda.empty_cache()


class Scorer(HFLM):
    """lm-eval's Hugging Face model, but for how it generates."""

    def __init__(self, model: Any, tokenizer: Any, config: EvalConfig) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1)
        self.batch_size_per_gpu = 1 if config.batch_size == "auto" else config.batch_size
        self._config = config
        self._endings: dict[tuple[str, ...], StoppingCriteriaList] = {}

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers in the order of the requests; where memory does not hold a batch, with half of it."""
        width = max(
            len(self.tok_encode(text)) + normalize_gen_kwargs(settings, self.max_gen_toks)["max_gen_toks"]
            for text, settings in (request.args for request in requests)
        )
        if self._config.batch_size == "auto":
            self.batch_size_per_gpu = min(fitting(self.model, width), len(requests))
        greedy = not any(_samples(request.args[1]) for request in requests)
        while True:
            try:
                if self._config.backend == "continuous" and greedy:
                    return self._generate_continuously(requests, width)
                return list(super().generate_until(requests, disable_tqdm))
            except torch.OutOfMemoryError:
                if self.batch_size_per_gpu == 1:
                    raise
            self.batch_size_per_gpu //= 2
            gc.collect()
            torch.cuda.empty_cache()

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
        """As HFLM's own, but that each row ends with a stop string of its own: HFLM waits until all rows have it."""
        if _samples(settings):
            return super()._model_generate(context, max_length, stop, **settings)
        if self._config.backend == "static":
            settings["cache_implementation"] = "static"
        settings.pop("temperature", None)
        return self.model.generate(
            input_ids=context,
            max_length=max_length,
            stopping_criteria=self._ending(tuple(stop)),
            eos_token_id=self._end_ids,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            **settings | {"do_sample": False},
        )

    def _ending(self, stop: tuple[str, ...]) -> StoppingCriteriaList:
        """Criteria for stop strings; for end tokens transformers has its own."""
        if stop not in self._endings:
            strings = [string for string in stop if string != self._end]
            self._endings[stop] = StoppingCriteriaList([StopStringCriteria(self.tokenizer, strings)] if strings else [])
        return self._endings[stop]

    @property
    def _end(self) -> str:
        return str(self.tok_decode(self.eot_token_id, skip_special_tokens=False))

    @property
    def _end_ids(self) -> int | list[int]:
        known = self.model.generation_config.eos_token_id  # a model may have several
        return self.eot_token_id if known is None else known

    def _generate_continuously(self, requests: list[Any], width: int) -> list[str]:
        """As many at once as the batch size says; `width` is that of the longest, in tokens."""
        page = 64
        room = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=self.batch_size * -(-width // page),
            max_batch_tokens=max(width, 2 * self.batch_size),
            max_requests_per_batch=self.batch_size,
            allow_block_sharing=False,  # questions begin alike for a few words only
        )
        said: dict[int, str] = {}
        kinds = sorted({json.dumps(request.args[1], sort_keys=True) for request in requests})
        for kind in kinds:
            chosen = [i for i, request in enumerate(requests) if json.dumps(request.args[1], sort_keys=True) == kind]
            settings = normalize_gen_kwargs(json.loads(kind), self.max_gen_toks)
            stop = handle_stop_sequences(settings.get("until"), eos=self._end)
            limits = GenerationConfig(
                max_new_tokens=settings["max_gen_toks"],
                do_sample=False,
                eos_token_id=self._end_ids,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            prompts = [self.tok_encode(requests[i].args[0]) for i in chosen]
            made = list(self.model.generate_batch(prompts, limits, room, warmup=False).values())
            problem = next((output.error for output in made if output.error), None)
            if problem or len(made) < len(prompts):
                raise RuntimeError(problem or f"{len(prompts) - len(made)} of {len(prompts)} questions got no answer")
            for i, output in zip(chosen, made, strict=True):
                said[i] = postprocess_generated_text(self.tok_decode(output.generated_tokens), stop, None)
                self.cache_hook.add_partial("generate_until", requests[i].args, said[i])
        return [said[i] for i in range(len(requests))]


def _samples(settings: dict[str, Any]) -> bool:
    """Whether answers are drawn, and not the likeliest."""
    return bool(settings.get("do_sample") or settings.get("temperature"))


def fitting(model: Any, width: int) -> int:
    """How many sequences a model can generate at once.

    Args:
        width: of the longest of them, prompt and answer, in tokens.

    Returns:
        what the free memory holds of keys, values and one layer's activations; on a CPU no more than keeps its threads
        busy, on a GPU no more than 512, and at least 1.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * heads * size  # of all layers, were all of them plain attention
    wide = 4 * max(config.hidden_size, getattr(config, "intermediate_size", 0))
    bytes_a_row = width * (kept + wide) * model.dtype.itemsize + 3 * 4 * config.vocab_size  # logits in float32
    if model.device.type == "cuda":
        torch.cuda.empty_cache()  # what training left
        free, most = torch.cuda.mem_get_info(model.device)[0], MOST_ON_GPU
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        most = A_THREAD * torch.get_num_threads()
    return int(max(1, min(most, SHARE * free // bytes_a_row)))
