"""From the name of a variant to what is known of it."""

from __future__ import annotations

import antipasto
from antipasto.config import ALIASES, did_you_mean

from ...core.errors import UserError
from .external import loaded, plugins
from .library import LibraryMethod
from .method import Method
from .peft import PeftMethod
from .peft_types import PREFIX, TYPES, is_peft
from .untuned import BASE, Untuned
from .weights import WEIGHTS, WeightsMethod


def method_of(variant: str) -> Method:
    """The method of a variant; of another package's only once it is loaded, see `external.load_variant`.

    Raises:
        UserError: there is none of that name; the message names the nearest.
    """
    variant = ALIASES.get(variant, variant)
    if (external := loaded(variant)) is not None:
        return external
    if variant == BASE:
        return Untuned()
    if variant in antipasto.CONFIGS:
        return LibraryMethod(variant)
    if variant in WEIGHTS:
        return WeightsMethod(variant)
    if is_peft(variant):
        return PeftMethod(variant)
    others = {plugin.name: plugin.package for plugin in plugins()}
    if variant in others:
        raise UserError(f"{variant} is of {others[variant]}, whose code runs only where the variant is named")
    names = [*variant_names(), *(PREFIX + name for name in TYPES), *others]
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
    return [BASE, *sorted(antipasto.CONFIGS), *WEIGHTS]
