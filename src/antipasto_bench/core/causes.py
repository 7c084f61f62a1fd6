"""What messages of other libraries mean, in words that name the cause.

Their texts speak of the libraries' own insides, of reports that are not shown, or of nothing at all.
"""

from __future__ import annotations

import os
import re

# A pattern of a library's text, and what it says; {0} is the pattern's group.
_CAUSES: tuple[tuple[str, str], ...] = (
    (r"[Cc]ouldn't instantiate the backend tokenizer", "it has no tokenizer file that transformers can read"),
    (r"ignore_mismatched_sizes", "its weights have other shapes than its config.json says"),
    (
        r"deserializing header|[Hh]eader ?[Tt]oo ?(?:[Ss]mall|[Ll]arge)|[Ii]nvalid ?[Hh]eader|"
        r"[Ii]ncomplete ?[Mm]etadata",
        "a .safetensors file is damaged or cut short",
    ),
    (r"model type `([^`]*)` but Transformers does not recognize", "model_type {0} is unknown to this transformers"),
    (r"Should have a `model_type` key", "its config.json names no model_type"),
    (
        r"configuration class <class '[\w.]*?(\w+)'>.*for this kind of AutoModel: AutoModelForCausalLM",
        "{0} is not of a causal language model",
    ),
    (r"ModelUntagged", "its tokenizer.json is none that the tokenizers library knows"),
    (r"The `layer_types` entries must be in", "layer_types in its config.json names an unknown kind of layer"),
    (r"Error no file named model\.safetensors", "it has no model.safetensors"),
    (r"GGUF magic invalid|file signature|not a valid GGUF", "it does not begin as a GGUF file does"),
    (r"GGUF model with architecture (\S+) is not supported", "its architecture, {0}, is unknown to this transformers"),
    (r"gated repo|[Aa]ccess to .* is restricted|401 Client Error|403 Client Error", "access needs `hf auth login`"),
    (
        r"404 Client Error|RepositoryNotFound|is not a valid model identifier|doesn't exist on the Hub",
        "the hub has nothing public of that name",
    ),
    (r"maximum recursion depth exceeded", "it is nested too deeply"),
)

_UNREACHED = re.compile(
    r"couldn't connect to|Couldn't reach|Cannot reach|[Oo]ffline ?[Mm]ode|outgoing traffic has been disabled|"
    r"LocalEntryNotFound|Cannot find the requested files in the disk cache"
)


def unreached(text: str) -> str | None:
    """Why the hub gave nothing, where a message is of no connection to it; None of any other message.

    The libraries' own texts are left out: they advise to unset what `core.hub` may have set.
    """
    if not _UNREACHED.search(text):
        return None
    switch = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _is_set(name)), None)
    return "the hub was not reached" if switch is None else f"{switch} is set"


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off")


def cause_of(text: str) -> str | None:
    """The cause that a library's message stands for; None of a message that is not known to mislead."""
    for pattern, cause in _CAUSES:
        match = re.search(pattern, text, re.DOTALL)
        if match is not None:
            return cause.format(*match.groups())
    return None


def message_line(error: BaseException) -> str:
    """An error's own text in one line: its type before a text that says nothing alone.

    A heading that ends with a colon is left out where the line below it says what is wrong.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    bare = isinstance(error, LookupError | TypeError | AttributeError | ArithmeticError | AssertionError)
    return f"{type(error).__name__}: {line}" if bare or " " not in line else line
