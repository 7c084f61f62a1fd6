"""From the name of a variant to what is known of it."""

from __future__ import annotations

import antipasto
from antipasto.config import ALIASES, did_you_mean

from ...core.errors import UserError
from .library import LibraryMethod
from .method import Method
from .peft import PeftMethod
from .peft_types import PREFIX, TYPES, is_peft
from .untuned import BASE, Untuned


def method_of(variant: str) -> Method:
    """The method of a variant.

    Raises:
        UserError: there is none of that name; the message names the nearest.
    """
    variant = ALIASES.get(variant, variant)
    if variant == BASE:
        return Untuned()
    if variant in antipasto.CONFIGS:
        return LibraryMethod(variant)
    if is_peft(variant):
        return PeftMethod(variant)
    names = [*variant_names(), *(PREFIX + name for name in TYPES)]
    raise UserError(f"unknown variant {variant!r}{did_you_mean(variant, names)}")


def is_known(variant: str) -> bool:
    """Whether there is a method of that name here."""
    try:
        method_of(variant)
    except UserError:
        return False
    return True


def variant_names() -> list[str]:
    """Every variant that is here without an extra package."""
    return [BASE, *sorted(antipasto.CONFIGS)]
