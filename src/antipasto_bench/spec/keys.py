"""Which keys there are, and which variant has which."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence

from pydantic import BaseModel

import antipasto

from ..core.errors import UserError
from .config import ADAPTER_WORDS, RunConfig
from .methods.registry import method_of
from .methods.registry import variant_names as variant_names
from .methods.untuned import BASE

# Settings of training that mean nothing to some variants, and what those have in their place.
WITHOUT_EFFECT = {"lr": 1.0, "adapter_dtype": "float32", "lr_ratio": 1.0}


def run_keys() -> dict[str, str]:
    """Every key that is no variant's own, with what it is for."""
    keys = {"preset": "the settings to start from"}
    for name, field in RunConfig.model_fields.items():
        if name in ("data", "eval"):
            section = typing.cast("type[BaseModel]", field.annotation)
            keys |= {f"{name}.{key}": f.description or "" for key, f in section.model_fields.items()}
        elif name not in ("preset", "variant", "adapter"):
            keys[name] = field.description or ""
    return keys


def known_keys(variants: Iterable[str] = ()) -> dict[str, str]:
    """Every key that can be set, with what it is for.

    Args:
        variants: known ones, whose keys are among them in any case.
    """
    keys = run_keys()
    for variant in (*antipasto.CONFIGS, *variants):
        keys |= {name: "" for name in method_of(variant).fields() if name not in keys}
    return keys | dict.fromkeys(ADAPTER_WORDS, "")


def adapter_keys(variant: str) -> set[str]:
    """The keys of a variant's own config, in both spellings; none of base."""
    if variant == BASE:
        return set()
    names = set(method_of(variant).fields())
    return names | {word for word, name in ADAPTER_WORDS.items() if name in names}


def lacks(variant: str, key: str) -> bool:
    """Whether a known key means nothing to a variant."""
    if key == "lr_ratio":
        return not method_of(variant).factors
    if key in WITHOUT_EFFECT:
        method = method_of(variant)
        return not method.trains or (key == "adapter_dtype" and not method.adds_parameters)
    return key not in adapter_keys(variant) and any(key in adapter_keys(each) for each in antipasto.CONFIGS)


def refuse_keys_without_effect(variants: Sequence[str], keys: Iterable[str]) -> None:
    """Refuse a key that none of the variants has. A sweep is another thing: there such an axis collapses.

    Args:
        variants: known ones.
        keys: known ones.

    Raises:
        UserError: with the variant and the key.
    """
    resolved = [antipasto.ALIASES.get(variant, variant) for variant in variants]
    for key in keys:
        if key == "peft":  # folders, which are the variants
            continue
        if resolved and all(lacks(variant, key) for variant in resolved):
            names = " and ".join(resolved)
            has = "has" if len(resolved) == 1 else "have"
            if key == "lr_ratio":
                factored = ", ".join(name for name in sorted(antipasto.CONFIGS) if not lacks(name, key))
                raise UserError(f"{names} {has} no factors A and B; leave out {key}=, which is for {factored}")
            raise UserError(f"{names} {has} no setting {key!r}; leave out {key}=")
