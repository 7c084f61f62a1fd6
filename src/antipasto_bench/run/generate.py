"""The model as lm-eval asks it, in less time than lm-eval's own Hugging Face model takes for the same answers.

`eval.backend` says how they are generated:

    hf          each pass computes the answers that have not ended; others take the places of those that have
                (open_rows.py). Batch by batch, each of which ends with its last answer, where that cannot be: a model
                whose cache cannot be taken apart, a task's draws, beams or penalties, tokens of an adapter's own
    static      batch by batch, with a cache of fixed size, whose steps transformers compiles on a GPU
    continuous  the place of an answer that has ended goes to the next question at once; it knows of no stop strings,
                so that an answer ends with an end token or at its greatest length, and is cut afterwards; nor does it
                know of a task's draws, beams or penalties: such questions are answered as by hf
    vllm        by vLLM, on the merged weights; on a GPU
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import LogitsProcessorList, StoppingCriteriaList

from ..core.compat import tied_as_they_are
from ..core.errors import out_of_memory
from ..spec.config import EvalConfig
from .answer_ends import AnswerEnds
from .answer_log import AnswerLog
from .batch_in_hand import BatchInHand, batch_key, steps_shown
from .batch_size import MOST_ROWS_GPU, next_smaller_batch, rows_that_fit
from .continuous_batching import answers_as_they_end
from .decided_answers import Decision
from .generation_settings import draws, only_needed_settings, plainly_greedy
from .methods.registry import adapter_on
from .open_rows import OpenRows, Row
from .packed_weights import packed_weights
from .progress import ScoringProgress
from .row_cache import rows_can_leave
from .rows_without_padding import generate_without_padding
from .stop_strings import stop_string_criterion, without_end
from .streamed_answers import Questions, Stream, streamed_answers
from .tokens import encode_prompts, first_ids

T = TypeVar("T")


@contextmanager
def scorer(model: Any, tokenizer: Any, config: EvalConfig, progress: ScoringProgress | None = None) -> Iterator[Any]:
    """The model as lm-eval's evaluator takes it.

    Args:
        model: with its adapter folded in, where `config.backend` is vllm.
        progress: is told of answers as they come; vLLM gives all of them at once.
    """
    if config.backend != "vllm":
        yield Scorer(model, tokenizer, config, progress)
        return
    from .vllm_scoring import vllm_scorer

    with vllm_scorer(model, tokenizer) as lm:
        yield lm


class Scorer(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's Hugging Face model, but for how it generates."""

    answer_log: AnswerLog | None = None  # where answers are written as they come; AnswerLog.attach_to sets it
    decision: Decision | None = None  # answers end where it says that they are decided, too; evaluate.py sets it
    likelihood_batch_size: int | None = None  # texts at once, in the end; of its own, as no answer depends on it

    def __init__(self, model: Any, tokenizer: Any, config: EvalConfig, progress: ScoringProgress | None = None) -> None:
        with tied_as_they_are(model):
            super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1, trust_remote_code=False)
        self._config = config
        self._first_ids = first_ids(tokenizer)
        self.progress = progress or ScoringProgress()
        adapter = adapter_on(model)
        self._wrapped = adapter is not None and adapter.model is not adapter.base  # PEFT's model around the base
        self._takes_padding = adapter is None or adapter.takes_padding
        self._base = model if adapter is None else adapter.base
        self.batch_size_per_gpu: Any = config.batch_size  # `auto` until the first requests come

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers in the order of the requests."""
        with packed_weights(self.model):  # before it is asked how much memory is free
            return self._generate(requests, disable_tqdm)

    def _generate(self, requests: list[Any], disable_tqdm: bool) -> list[str]:
        texts, settings = zip(*(request.args for request in requests), strict=True)
        most_new = max(normalize_gen_kwargs(setting, self.max_gen_toks)["max_gen_toks"] for setting in settings)
        width = most_new + max(len(self.tok_encode(text)) for text in texts)
        self._choose_batch_size(len(requests), width)
        if self.answer_log is None:
            self.progress.expect(len(requests))
        elif self.answer_log.batch_size is None and self._config.batch_size == "auto":
            self.answer_log.begin_anew(self.batch_size_per_gpu)  # another try takes as many, whatever memory is free
        stream = self._stream()
        chosen = [i for i, setting in enumerate(settings) if stream is not None and self._streams(setting)]
        others = sorted({*range(len(requests))} - {*chosen})
        generate = super().generate_until

        def work() -> list[str]:
            answers: dict[int, str] = {}
            if chosen and stream is not None:
                answers |= zip(chosen, streamed_answers(self, [requests[i] for i in chosen], stream), strict=True)
            if others:
                answers |= zip(others, generate([requests[i] for i in others], disable_tqdm), strict=True)
            cut = str if self.decision is None else self.decision.cut  # at the same place, however it was made
            return [cut(answers[i]) for i in range(len(requests))]

        with only_needed_settings(self._base):
            return self._retry_with_smaller_batch(work, self.answer_log)

    def _stream(self) -> Stream | None:
        """What gives plainly greedy answers one by one; None where they are given batch by batch."""
        if self._wrapped:  # the base alone would be called, or positions be wrong
            return None
        if self._config.backend == "continuous":
            return self._continuously
        can_leave = self._config.backend == "hf" and self._takes_padding and rows_can_leave(self.model)
        return self._by_open_rows if can_leave else None

    def _streams(self, setting: dict[str, Any]) -> bool:
        """Whether answers by a task's settings can be streamed; where no room is left for a prompt, lm-eval says so."""
        most: int = normalize_gen_kwargs(setting, self.max_gen_toks)["max_gen_toks"]
        return plainly_greedy(setting) and most < self.max_length

    def _loglikelihood_tokens(self, requests: list[Any], *arguments: Any, **options: Any) -> list[tuple[float, bool]]:
        width = max((len(context) + len(end) for _, context, end in requests), default=1)
        self.progress.expect(len(requests))
        score = super()._loglikelihood_tokens
        with self._likelihood_batches(len(requests), width):
            values = self._retry_with_smaller_batch(lambda: list(score(requests, *arguments, **options)))
            self.likelihood_batch_size = self.batch_size_per_gpu
        return values

    def _model_call(self, inps: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps, *arguments, **options)
        self.progress.add(len(inps))
        return logits

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        # Texts are scored in windows of max_length tokens at most; this is how many windows a batch has.
        with self._likelihood_batches(MOST_ROWS_GPU, self.max_length):
            return list(super().loglikelihood_rolling(requests, disable_tqdm))

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **options: Any,
    ) -> list[int]:
        """A prompt's ids as training has them; without what begins it where `add_special_tokens` is False."""
        ids: list[int] = encode_prompts(self.tokenizer, self._first_ids, string, add_special_tokens)
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

    def _choose_batch_size(self, count: int, width: int) -> None:
        """What an earlier try of the run came to; else as configured, `auto` as many as memory holds."""
        earlier = None if self.answer_log is None else self.answer_log.batch_size
        if earlier is not None:
            self.batch_size_per_gpu = earlier
        elif self._config.batch_size == "auto":
            self.batch_size_per_gpu = max(1, min(rows_that_fit(self.model, width), count))

    @contextmanager
    def _likelihood_batches(self, count: int, width: int) -> Iterator[None]:
        """Texts at once for the length of a `with` block; answers then are generated in batches as before."""
        of_answers = self.batch_size_per_gpu
        if self._config.batch_size == "auto":
            self.batch_size_per_gpu = max(1, min(rows_that_fit(self.model, width, width), count))
        else:
            self.batch_size_per_gpu = self.likelihood_batch_size or self._config.batch_size
        try:
            yield
        finally:
            self.batch_size_per_gpu = of_answers

    def _retry_with_smaller_batch(self, work: Callable[[], list[T]], log: AnswerLog | None = None) -> list[T]:
        """The result of `work`, with the next smaller batch each time that memory does not hold it.

        Args:
            log: of answers that depend on the size, and are given again.
        """
        answered = self.progress.answered
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.batch_size_per_gpu == 1:
                    raise
            self.batch_size_per_gpu = next_smaller_batch(self.batch_size_per_gpu)
            self.progress.back_to(answered if log is None else 0)
            if log is not None:
                log.begin_anew(self.batch_size_per_gpu)
            gc.collect()
            torch.cuda.empty_cache()

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **settings: Any) -> torch.Tensor:
        """As HFLM's own, but each row ends at its own stop string: HFLM goes on until every row has come to one."""
        if self.answer_log is not None:
            self.answer_log.flush()  # all batches so far are whole
        if self._takes_padding:
            answers = self._generate_rows(context, max_length, stop, settings)
        else:
            mask = settings.pop("attention_mask")
            answers = generate_without_padding(
                lambda ids, own, most: self._generate_rows(ids, most, stop, settings | {"attention_mask": own}),
                context,
                mask,
                max_length,
                self.tokenizer.pad_token_id,
            )
        self.progress.add(len(context))
        return answers

    def _generate_rows(
        self, context: torch.Tensor, max_length: int, stop: list[str], settings: dict[str, Any]
    ) -> torch.Tensor:
        """Drawn or likeliest answers: (rows, at most max_length), prompts included."""
        if draws(settings):
            settings["logits_processor"] = LogitsProcessorList([steps_shown(context.shape[1], self.progress.step)])
            stop = [*without_end(stop, self._end), self._end]
            answers: torch.Tensor = super()._model_generate(context, max_length, stop, **settings)
            return answers
        return self._generate_greedily(context, max_length, stop, settings)

    def _generate_greedily(
        self, prompts: torch.Tensor, max_length: int, stop: list[str], settings: dict[str, Any]
    ) -> torch.Tensor:
        """The likeliest answers: (rows, at most max_length), prompts included."""
        if self._config.backend == "static" and not self._wrapped:  # which brings a cache of its own
            settings["cache_implementation"] = "static"
        settings.pop("temperature", None)
        width, mask = prompts.shape[1], settings.pop("attention_mask")
        stops = stop_string_criterion(self.tokenizer, stop, self._end)
        beams = settings.get("num_beams", 1) > 1  # a task's own: rows change places, and no prefix is final
        log = None if beams or not self._takes_padding else self.answer_log  # a batch of padded rows is noted whole
        batch = BatchInHand(
            batch_key(prompts, mask, max_length, stop, settings),
            width,
            self._end_ids,
            self.tokenizer.pad_token_id,
            stops=stops,
            rows_stay=not beams,
            note=None if log is None else log.note,
            on_step=self.progress.step,
        )
        ids, earlier = prompts, None if log is None else log.unfinished
        if earlier is not None and earlier.key == batch.key:
            ids = batch.resume(earlier, prompts)
            mask = torch.cat([mask, mask.new_ones(len(mask), earlier.length)], dim=1)
            if all(earlier.ended) or ids.shape[1] >= max_length:
                return ids
        with batch.noted_when_interrupted():
            answers: torch.Tensor = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_length - ids.shape[1],
                stopping_criteria=StoppingCriteriaList([batch]),
                eos_token_id=self._end_ids,
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
                **settings | {"do_sample": False},
            )
        return answers

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

    def _continuously(self, questions: Questions) -> Generator[tuple[int, list[int]]]:
        pad_id = self.tokenizer.pad_token_id
        return answers_as_they_end(self.model, questions, self._end_ids, pad_id, self.batch_size)

    def _by_open_rows(self, questions: Questions) -> Generator[tuple[int, list[int]]]:
        """Those with tokens of an earlier try first, in its order; then the longest prompts first, as lm-eval does."""
        prompts, given = questions.prompts, questions.given
        others = sorted({*range(len(prompts))} - {*given}, key=lambda i: (-len(prompts[i]), prompts[i]))
        order = [*sorted(given, key=list(given).index), *others]
        decision, stop = self.decision, without_end(questions.stop, self._end)
        decided = None if decision is None else lambda tokens: decision(self.tok_decode(tokens))
        ends = AnswerEnds(self._decode_whole, self._end_ids, stop, decided)
        batch = OpenRows(self.model, self.batch_size, ends, self.tokenizer.pad_token_id, questions.on_step)
        questions.under_way = lambda: {row.place: row.tokens for row in batch.open if row.tokens}
        rows = [Row(i, prompts[i], questions.most, list(given.get(i, []))) for i in order]
        return ((row.place, row.tokens) for row in batch.answers(rows))

    def _decode_whole(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False))
