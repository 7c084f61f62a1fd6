"""Answers that belong to no batch: each is handed on as it ends, whatever others are computed beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from .answer_log import AnswerLog, request_key

Flushed = AbstractContextManager[Callable[[], None]]


@dataclass
class Questions:
    """Questions of one task's settings.

    Args:
        prompts: token ids.
        given: tokens that an earlier try has come to, by place in `prompts`.
        most: tokens of an answer.
        on_step: to be called after each step, with the tokens of the longest answer under way; 0 where not known.
        under_way: the tokens of the answers under way, by place in `prompts`; the stream sets it.
    """

    prompts: list[list[int]]
    given: dict[int, list[int]]
    most: int
    stop: list[str]
    on_step: Callable[[int], None]
    under_way: Callable[[], dict[int, list[int]]] = dict


Stream = Callable[[Questions], Generator[tuple[int, list[int]]]]


def streamed_answers(lm: Any, requests: list[Any], stream: Stream) -> list[str]:
    """Answers in the order of the requests.

    Args:
        lm: the Scorer, whose log and progress are told of each answer.
        stream: gives the place of each prompt and the tokens of its answer, those that end first first.
    """
    answers: dict[int, str] = {}
    for kind in sorted({json.dumps(request.args[1], sort_keys=True) for request in requests}):
        of_kind = [i for i, request in enumerate(requests) if json.dumps(request.args[1], sort_keys=True) == kind]
        ended = _of_one_kind(lm, [requests[i] for i in of_kind], json.loads(kind), stream)
        answers |= zip(of_kind, ended, strict=True)
    return [answers[i] for i in range(len(requests))]


def _of_one_kind(lm: Any, requests: list[Any], kind: dict[str, object], stream: Stream) -> list[str]:
    settings = normalize_gen_kwargs(kind, lm.max_gen_toks)
    most, log, keys = settings["max_gen_toks"], lm.answer_log, [request_key(request.args) for request in requests]
    questions = Questions(
        prompts=[lm.tok_encode(request.args[0])[-(lm.max_length - most) :] for request in requests],
        given={} if log is None else {i: log.open[key] for i, key in enumerate(keys) if key in log.open},
        most=most,
        stop=handle_stop_sequences(settings.get("until"), eos=None),
        on_step=lambda tokens: None,
    )
    answers: dict[int, str] = {}
    with _flushed(log, lambda: {keys[i]: tokens for i, tokens in questions.under_way().items()}) as flush:

        def on_step(tokens: int) -> None:
            lm.progress.step(tokens)
            flush()

        questions.on_step = on_step
        with closing(stream(questions)) as ended:
            for i, tokens in ended:
                answers[i] = postprocess_generated_text(lm.tok_decode(tokens), questions.stop, None)
                lm.cache_hook.add_partial("generate_until", requests[i].args, answers[i])
                lm.progress.add(1)
                flush()
    return [answers[i] for i in range(len(requests))]


def _flushed(log: AnswerLog | None, under_way: Callable[[], dict[str, list[int]]]) -> Flushed:
    return nullcontext(lambda: None) if log is None else log.flushed_now_and_then(under_way)
