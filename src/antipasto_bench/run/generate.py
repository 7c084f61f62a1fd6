"""The model as lm-eval asks it, in less time than lm-eval's own Hugging Face model takes for the same answers.

`eval.backend` says how they are generated:

    hf          batch by batch; each answer ends where it ends, and a batch with its last
    static      the same with a cache of fixed size, whose steps transformers compiles on a GPU
    continuous  the place of an answer that has ended goes to the next question at once; it knows of no stop strings,
                so that an answer ends with an end token or at its greatest length, and is cut afterwards
    vllm        by vLLM, on the merged weights; on a GPU
"""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from transformers import ContinuousBatchingConfig, StoppingCriteriaList, StopStringCriteria

from ..core.errors import RunFailure, out_of_memory
from ..core.machine import cores, free_memory
from ..spec.config import EvalConfig
from .tokens import first_ids, text_ids

MOST_ROWS_GPU = 512  # questions at once, however much memory is free
ROWS_A_THREAD = 128  # questions at once for each thread of a CPU: more take no less time
MEMORY_SHARE = 0.7  # of the free memory that is taken to be there
VLLM_LONGEST = 4096  # tokens of prompt and answer: room for a model's whole context may be more than a GPU has

T = TypeVar("T")


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
        free = _free_on_gpu(model.device)
        share = 0.9 * free / torch.cuda.get_device_properties(model.device).total_memory
        longest = min(VLLM_LONGEST, model.config.get_text_config().max_position_embeddings)
        dtype = str(model.dtype).removeprefix("torch.")
        try:
            lm = VLLM(folder, dtype, batch_size="auto", max_model_len=longest, gpu_memory_utilization=round(share, 2))
        except (ValueError, OSError) as error:  # a model it does not know, or has no room for
            raise RunFailure(f"vLLM: {error}") from error
        lm.tok_encode = partial(_encode, tokenizer, first_ids(tokenizer))  # vLLM is given ids, and reads no text
        try:
            yield lm
        finally:
            del lm
            gc.collect()
            torch.cuda.empty_cache()


class Scorer(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's Hugging Face model, but for how it generates."""

    def __init__(self, model: Any, tokenizer: Any, config: EvalConfig) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1)
        self._config = config
        self._stop_criteria: dict[tuple[str, ...], StopStringCriteria] = {}
        self._first_ids = first_ids(tokenizer)
        self.batch_size_per_gpu: Any = config.batch_size  # `auto` until the first requests come

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers in the order of the requests."""
        texts, settings = zip(*(request.args for request in requests), strict=True)
        most_new = max(normalize_gen_kwargs(setting, self.max_gen_toks)["max_gen_toks"] for setting in settings)
        width = most_new + max(len(self.tok_encode(text)) for text in texts)
        self._choose_batch_size(len(requests), width)
        if self._config.backend == "continuous" and not any(_draws(request.args[1]) for request in requests):
            return self._retry_with_half_batch(lambda: self._generate_continuously(requests, width))
        generate = super().generate_until
        return self._retry_with_half_batch(lambda: list(generate(requests, disable_tqdm)))

    def _loglikelihood_tokens(self, requests: list[Any], *arguments: Any, **options: Any) -> list[tuple[float, bool]]:
        width = max((len(context) + len(end) for _, context, end in requests), default=1)
        self._choose_batch_size(len(requests), width, scored=width)
        score = super()._loglikelihood_tokens
        return self._retry_with_half_batch(lambda: list(score(requests, *arguments, **options)))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        # Texts are scored in windows of max_length tokens at most; this is how many windows a batch has.
        self._choose_batch_size(MOST_ROWS_GPU, self.max_length, scored=self.max_length)
        return list(super().loglikelihood_rolling(requests, disable_tqdm))

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **options: Any,
    ) -> list[int]:
        """A prompt's ids as training has them; without what begins it where `add_special_tokens` is False."""
        ids: list[int] = _encode(self.tokenizer, self._first_ids, string, add_special_tokens)
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts as training has them, padded: ids and attention mask, each (prompts, longest)."""
        ids = [self.tok_encode(string, left_truncate_len=left_truncate_len) for string in strings]
        batch = self.tokenizer.pad({"input_ids": ids}, padding_side=padding_side, return_tensors="pt")
        return batch["input_ids"], batch["attention_mask"]

    def _choose_batch_size(self, count: int, width: int, scored: int = 1) -> None:
        if self._config.batch_size == "auto":
            self.batch_size_per_gpu = max(1, min(rows_that_fit(self.model, width, scored), count))

    def _retry_with_half_batch(self, work: Callable[[], list[T]]) -> list[T]:
        """The result of `work`, with half the batch each time that memory does not hold it."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.batch_size_per_gpu == 1:
                    raise
            self.batch_size_per_gpu //= 2
            gc.collect()
            torch.cuda.empty_cache()

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
        """As HFLM's own, but each row ends at its own stop string: HFLM goes on until every row has come to one."""
        if _draws(settings):
            stop = [*self._stop_strings(stop), self._end]
            drawn: torch.Tensor = super()._model_generate(context, max_length, stop, **settings)
            return drawn
        if self._config.backend == "static":
            settings["cache_implementation"] = "static"
        settings.pop("temperature", None)
        prompt_length = context.shape[1]
        answers: torch.Tensor = self.model.generate(
            input_ids=context,
            max_new_tokens=max_length - prompt_length,  # wins over the model's own settings
            stopping_criteria=StoppingCriteriaList(
                [self._stop_criterion(tuple(stop), prompt_length)] if self._stop_strings(stop) else []
            ),
            eos_token_id=self._end_ids,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            **settings | {"do_sample": False},
        )
        return answers

    def _stop_strings(self, stop: Iterable[str]) -> list[str]:
        """The stop strings without the end token, which is matched by its id."""
        return [string for string in stop if string not in ("", self._end)]

    def _stop_criterion(self, stop: tuple[str, ...], prompt_length: int) -> Callable[..., torch.Tensor]:
        """Tells which rows hold a stop string after their prompts, the first `prompt_length` tokens."""
        if stop not in self._stop_criteria:  # it goes through the whole vocabulary
            self._stop_criteria[stop] = StopStringCriteria(self.tokenizer, self._stop_strings(stop))
        criterion = self._stop_criteria[stop]
        return lambda ids, scores, **more: criterion(ids[:, prompt_length:], scores, **more)

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """Tokens as text; nothing for the end token alone.

        HFLM makes a stop string of that one, and would cut an answer where it quotes the end token's name.
        """
        if isinstance(tokens, int) and tokens == self.eot_token_id:
            return ""
        return str(super().tok_decode(tokens, skip_special_tokens=skip_special_tokens))

    @property
    def _end(self) -> str:
        return str(self.tokenizer.decode(self.eot_token_id))

    @property
    def _end_ids(self) -> list[int]:
        """The end token that answers were trained with, and the model's own, of which there may be several."""
        own = self.model.generation_config.eos_token_id
        return sorted({self.eot_token_id, *(own if isinstance(own, list) else [] if own is None else [own])})

    def _generate_continuously(self, requests: list[Any], width: int) -> list[str]:
        """As many at once as the batch size says; `width` is that of the longest, in tokens."""
        page = 256 if self.device.type == "cuda" else 64  # flash attention takes no smaller
        room = ContinuousBatchingConfig(
            page_size=page,
            num_blocks=self.batch_size * -(-width // page),
            max_batch_tokens=max(width, 2 * self.batch_size),
            max_requests_per_batch=self.batch_size,
            allow_block_sharing=False,  # questions begin alike for a few words only
        )
        answers: dict[int, str] = {}
        kinds = sorted({json.dumps(request.args[1], sort_keys=True) for request in requests})
        for kind in kinds:
            chosen = [i for i, request in enumerate(requests) if json.dumps(request.args[1], sort_keys=True) == kind]
            settings = normalize_gen_kwargs(json.loads(kind), self.max_gen_toks)
            stop = handle_stop_sequences(settings.get("until"), eos=None)
            limits = copy.deepcopy(self.model.generation_config)
            limits.update(
                max_new_tokens=settings["max_gen_toks"],
                do_sample=False,
                eos_token_id=self._end_ids,
                pad_token_id=self.tokenizer.pad_token_id,
            )
            most = self.max_length - settings["max_gen_toks"]
            prompts = [self.tok_encode(requests[i].args[0])[-most:] for i in chosen]
            outputs = list(self.model.generate_batch(prompts, limits, room, warmup=False).values())
            problem = next((output.error for output in outputs if output.error), None)
            if problem or len(outputs) < len(prompts):
                problem = problem or f"{len(prompts) - len(outputs)} of {len(prompts)} questions got no answer"
                raise RuntimeError(problem)
            for i, output in zip(chosen, outputs, strict=True):
                answers[i] = postprocess_generated_text(self.tok_decode(output.generated_tokens), stop, None)
                self.cache_hook.add_partial("generate_until", requests[i].args, answers[i])
        return [answers[i] for i in range(len(requests))]


def _encode(
    tokenizer: Any, first: list[int], text: str | Sequence[str], add_special_tokens: bool | None = None, **options: Any
) -> Any:
    """The ids of a prompt, or of several; `first` begins each unless `add_special_tokens` is False."""
    begun = [] if add_special_tokens is False else first
    if isinstance(text, str):
        return [*begun, *text_ids(tokenizer, [text])[0]]
    return [[*begun, *ids] for ids in text_ids(tokenizer, text)]


def _draws(settings: dict[str, Any]) -> bool:
    """Whether answers are drawn, and not the likeliest."""
    return bool(settings.get("do_sample") or settings.get("temperature"))


def rows_that_fit(model: Any, width: int, scored: int = 1) -> int:
    """How many sequences a model can take at once.

    Args:
        width: of the longest of them, prompt and answer, in tokens.
        scored: tokens of each sequence that logits are computed for.

    Returns:
        what the free memory holds of keys, values and one layer's activations; on a CPU no more than keeps its threads
        busy, on a GPU no more than 512, and at least 1.
    """
    config = model.config.get_text_config()
    queries = _largest(config, "num_attention_heads")
    heads = _largest(config, "num_key_value_heads") or queries
    size = _largest(config, "head_dim") or config.hidden_size // max(1, queries)
    cache = 2 * config.num_hidden_layers * heads * size  # of all layers, were all of them plain attention
    activations = 4 * max(config.hidden_size, _largest(config, "intermediate_size"))
    # Logits are in float32.
    bytes_a_row = width * (cache + activations) * model.dtype.itemsize + scored * 3 * 4 * config.vocab_size
    if model.device.type == "cuda":
        free, most = _free_on_gpu(model.device), MOST_ROWS_GPU
    else:
        threads = torch.get_num_threads()
        part = min(1.0, threads / cores())  # a worker that has half of the cores takes half of it
        free, most = int(part * free_memory()), ROWS_A_THREAD * threads
    return int(max(1, min(most, MEMORY_SHARE * free // bytes_a_row)))


def _largest(config: Any, name: str) -> int:
    """A config value; the largest where it differs by layer, 0 where the model has none."""
    value = getattr(config, name, None) or 0
    return max(value) if isinstance(value, list | tuple) else value


def _free_on_gpu(device: torch.device) -> int:
    gc.collect()  # what training left
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]
