"""Which settings answers are generated with: the task's, and none of the model's own but what generation needs.

A model's generation_config.json may hold a repetition penalty, beams, a least length or suppressed tokens. Each would
make a greedy answer another one, and not every backend knows each. So they are left out of scoring, in all backends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..core.compat import default_generation_settings
from ..core.json_types import Json

# What a sequence begins and ends with, and how keys and values are stored. No answer depends on the latter.
NEEDED = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "cache_implementation",
    "cache_config",
    "compile_config",
    "disable_compile",
)
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's names for one setting
_OF_ENDS = ("until", *LENGTHS)  # what a greedy answer's end depends on, and no token of it
_NO_SETTING = ("transformers_version", "use_cache", "output_attentions", "output_hidden_states", "output_scores")


@contextmanager
def only_needed_settings(model: Any) -> Iterator[None]:
    """Replace the model's generation settings by what generation needs of them, for the length of a `with` block.

    `generate` fills whatever a caller leaves open from the model's own settings, so that they themselves must go.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    needed = {name: getattr(own, name, None) for name in NEEDED}
    model.generation_config = GenerationConfig(**{name: value for name, value in needed.items() if value is not None})
    try:
        yield
    finally:
        model.generation_config = own


def dropped_settings(model: Any) -> Json:
    """The model's own generation settings that scoring leaves out, where they are not transformers' defaults."""
    defaults = default_generation_settings()
    dropped = {
        name: value
        for name, value in model.generation_config.to_dict().items()
        if name not in (*NEEDED, *_NO_SETTING)
        and not name.startswith("_")
        and value is not None
        and value is not False
        and value != defaults.get(name)
    }
    return dict(json.loads(json.dumps(dropped, sort_keys=True, default=str)))


def draws(settings: Mapping[str, Any]) -> bool:
    """Whether a task's generation settings ask for draws, each another one, and not for the likeliest answer.

    As lm-eval's `normalize_gen_kwargs`: a temperature without `do_sample` is a draw, and one with `do_sample: false`
    is none.
    """
    sampled = settings.get("do_sample")
    return bool(settings.get("temperature") if sampled is None else sampled)


def plainly_greedy(settings: Mapping[str, Any]) -> bool:
    """Whether a task's answers are the likeliest token after token, to their ends: no draws, beams or penalties."""
    return not draws(settings) and set(settings) <= {*_OF_ENDS, "do_sample", "temperature"}
