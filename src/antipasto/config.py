"""What a user says about an adapter: a frozen dataclass per variant, checked when it is constructed."""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar


class AdapterError(ValueError):
    """A user's mistake about an adapter; the message says what was wrong, what was expected, and what to write."""


CONFIGS: dict[str, type[AdapterConfig]] = {}
ALIASES = {"antipasto_rot": "antipasto"}

# PEFT's words for three fields, accepted wherever a config is given by keywords.
PEFT_WORDS = {"target_modules": "target_names", "exclude_modules": "exclude_names", "layers_to_transform": "layers"}

ALL_LINEAR = "all-linear"  # in place of names: every linear layer but the output head

Instance = TypeVar("Instance")


class _AcceptsPeftWords(type):
    """Lets a config class be called with PEFT's words, without adding fields that would be saved twice."""

    def __call__(cls: type[Instance], *args: Any, **given: Any) -> Instance:
        instance: Instance = type.__call__(cls, *args, **own_words(given))
        return instance


@dataclass(frozen=True, kw_only=True)
class AdapterConfig(metaclass=_AcceptsPeftWords):
    """Fields common to every variant.

    Args:
        r: rank, at least 1; at most min(d_in, d_out) of every target, which `attach` checks. None, where a variant
            allows it: min(d_in, d_out) of each target.
        alpha: numerator of the scale alpha / r, for the variants that have one; None for r, a scale of 1.
        target_names: regexes; a layer is a target where one matches its whole dotted path, or the end of
            that path after a dot (`down_proj` matches `model.layers.0.mlp.down_proj`). Or "all-linear": every linear
            layer but the output head, as PEFT has it; `kinds_left_out` names what it leaves out, such as routers.
            PEFT's word for the field, `target_modules`, is accepted too.
        layers: indices of the decoder blocks to adapt (the first number in a layer's path); None for all. PEFT's word:
            `layers_to_transform`.
        exclude_names: regexes matched the same way; a layer that matches one is no target. PEFT's word:
            `exclude_modules`.

    `attach` refuses a value of these three of which a part does nothing on the model: a pattern or a number without a
    target, an exclusion without a layer. Class defaults are exempt, since they are written for many models: of such a
    `target_names` one pattern must match, of such an `exclude_names` none need. A pattern that also names weights that
    cannot be adapted, such as those of fused experts, is refused until they are excluded, default or not.

    Raises:
        AdapterError: a field's value is impossible; the message names the field and what was expected. Or a field was
            given under both of its names.
    """

    variant: ClassVar[str] = ""
    full_rank_allowed: ClassVar[bool] = False
    trains: ClassVar[bool] = True  # False where everything is computed from data, and there is nothing to train
    factors: ClassVar[bool] = False  # whether both factors of a product B A are trained, `lora_A` and `lora_B`

    r: int | None = 32
    alpha: float | None = 64.0
    target_names: Sequence[str] = ("down_proj",)
    layers: Sequence[int] | None = None
    exclude_names: Sequence[str] = ("lm_head",)

    if TYPE_CHECKING:  # keywords of the constructor; as attributes, other names of the fields above
        target_modules: Sequence[str] = ("down_proj",)
        layers_to_transform: Sequence[int] | None = None
        exclude_modules: Sequence[str] = ("lm_head",)
    else:
        target_modules = property(operator.attrgetter("target_names"))
        layers_to_transform = property(operator.attrgetter("layers"))
        exclude_modules = property(operator.attrgetter("exclude_names"))

    def __post_init__(self) -> None:
        for field in PEFT_WORDS.values():
            value = getattr(self, field)
            _require_list(field, value)
            if field == "target_names" and _is_all_linear(value):
                value = (ALL_LINEAR,)
            if value is not None:
                object.__setattr__(self, field, tuple(value))
        if self.r is None and not self.full_rank_allowed:
            raise AdapterError(f"{self.variant} needs a rank: r must be a whole number of at least 1")
        if self.r is not None and (not isinstance(self.r, int) or isinstance(self.r, bool) or self.r < 1):
            raise AdapterError(f"r must be a whole number of at least 1, got {self.r!r}")
        if self.alpha is not None and not math.isfinite(self.alpha):
            raise AdapterError(f"alpha must be a finite number, got {self.alpha}")
        if not self.target_names:
            raise AdapterError("target_names is empty; name at least one layer, such as 'down_proj'")
        if self.layers is not None and not self.layers:
            raise AdapterError("layers is empty; name at least one, or leave it out for all")
        if ALL_LINEAR in self.target_names and len(self.target_names) > 1:
            raise AdapterError(f"target_names: {ALL_LINEAR} stands alone; it names every linear layer but the head")
        for pattern in (*self.target_names, *self.exclude_names):
            try:
                re.compile(pattern)
            except re.error as error:
                raise AdapterError(f"{pattern!r} is not a valid regex: {error}") from error

    def rank(self, d_in: int, d_out: int) -> int:
        """The rank on one (d_out, d_in) target."""
        return min(d_in, d_out) if self.r is None else self.r

    @property
    def scale(self) -> float:
        """alpha / r."""
        if self.alpha is None:
            return 1.0
        assert self.r is not None, "a variant of full rank has no such scale"
        return self.alpha / self.r

    def unused_fields(self) -> set[str]:
        """The fields that change nothing under the values of the others."""
        return set()

    def needs_data(self) -> bool:
        """Whether `attach` must be given calibration data: whether the variant has a calibrator for this config."""
        return False

    def dedicated_variant(self) -> str:
        """The name of the variant that is defined as this computation; this config's own unless another is."""
        return self.variant

    def canonical(self) -> AdapterConfig:
        """The one config that stands for all configs of the same computation.

        - Its variant is the dedicated one: `antipasto_gain` with basis=corda becomes `antipasto_corda`.
        - Unused fields have their defaults.
        - alpha is a number: None, where alpha is used, becomes float(r).
        - "all-linear" is the one entry of `target_names`, also where it was given without a list.
        - Names and layers are sorted and unique: targets are adapted in the model's order, not in theirs.
        - A whole number in a field of type float becomes a float.

        Attached with the same data and generator, it gives the same tensors and outputs, bit for bit. What depends on
        the model is left as it is: r=None and r=min(d_in, d_out) stay two configs.
        """
        variant = self.dedicated_variant()
        cls = type(self) if variant == self.variant else CONFIGS[variant]
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        unused = self.unused_fields()
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in unused:
                value = defaults[field.name]
            elif field.name == "alpha":
                value = self.r if value is None else value
                value = None if value is None else float(value)
            elif field.name in PEFT_WORDS.values() and value is not None:
                value = tuple(sorted(set(value)))
            elif isinstance(defaults[field.name], float):
                value = float(value)
            values[field.name] = value
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, with the variant's name under `variant`."""
        fields = dataclasses.asdict(self)
        return {"variant": self.variant} | {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> AdapterConfig:
        """The inverse of `to_dict`. PEFT's words are accepted.

        Raises:
            AdapterError: the variant or a field is unknown; the message names the nearest known one.
        """
        values = own_words(values)
        cls = CONFIGS[resolve(values.pop("variant", ""))]
        known = {field.name for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise AdapterError(f"{cls.variant} has no field {key!r}{did_you_mean(key, known)}")
        return cls(**values)


Config = TypeVar("Config", bound=type[AdapterConfig])


def register_config(cls: Config) -> Config:
    """Class decorator: make a config known under its `variant` name."""
    CONFIGS[cls.variant] = cls
    return cls


def resolve(variant: str) -> str:
    """A variant's own name from any name it is known by.

    Raises:
        AdapterError: no such variant; the message names the nearest known one.
    """
    name = ALIASES.get(variant, variant)
    if name not in CONFIGS:
        raise AdapterError(f"unknown variant {variant!r}{did_you_mean(variant, CONFIGS)}")
    return name


def own_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a config in which PEFT's words are replaced by this library's.

    Raises:
        AdapterError: both words for one field, or a value that is no list.
    """
    renamed: dict[str, Any] = {}
    for word, value in values.items():
        field = PEFT_WORDS.get(word, word)
        if word != field:
            _require_list(word, value)
            if field in values:
                raise AdapterError(f"{field} and {word} are two words for one setting; give one of them")
        renamed[field] = value
    return renamed


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown word: its nearest known one, then all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"{f'; did you mean {near[0]!r}?' if near else ''} (known: {', '.join(known)})"


def require_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise AdapterError where a field does not hold one of the allowed words."""
    if value not in allowed:
        raise AdapterError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def _require_list(word: str, value: object) -> None:
    """Raise AdapterError where one name, one index or None stands in place of a list of them."""
    field = PEFT_WORDS.get(word, word)
    if isinstance(value, str | int) and not (field == "target_names" and _is_all_linear(value)):
        # A list even of one: PEFT reads another string as a regex over the whole path.
        raise AdapterError(f"{word} must be a list, got {value!r}; write {[value]!r}")
    if value is None and field != "layers":
        raise AdapterError(f"{word} must be a list, got None; leave it out for the default")


def _is_all_linear(value: object) -> bool:
    """Whether a value of `target_names` is the word; in any case of letters, as in PEFT."""
    if isinstance(value, str):
        return value.lower() == ALL_LINEAR
    return isinstance(value, Sequence) and len(value) == 1 and _is_all_linear(value[0])
