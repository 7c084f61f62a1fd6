"""Which layers a config adapts: all that it names, or an error that says what it names in vain."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from itertools import accumulate
from typing import cast

from torch import nn

from .config import ALL_LINEAR, AdapterConfig, AdapterError
from .layer import Layer

FUSED = "fused expert weight"
LIKE_LINEAR = (FUSED, "Conv1D")  # linear in what they compute: "all-linear" names them too


@dataclass(frozen=True)
class OtherWeight:
    """A weight that is no linear layer's."""

    kind: str  # the class of its module, or what it is where it is a parameter of a module with several
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind}, {' x '.join(map(str, self.shape))}"

    @staticmethod
    def of(name: str, parameter: nn.Parameter, module: nn.Module) -> OtherWeight:
        """The description of a parameter `name` of `module`, which is no linear layer."""
        shape = tuple(parameter.shape)
        # The shape tells, not the name. A first dimension of 1 is for broadcasting, over the batch.
        if len(shape) == 3 and shape[0] > 1 and not _is_convolution(module):
            return OtherWeight(FUSED, shape)
        return OtherWeight(type(module).__name__ if name == "weight" else "parameter", shape)

    @property
    def is_vector(self) -> bool:
        """Whether it acts entry by entry, such as the scales of a norm (16) or a mix of two tokens (1 x 1 x 16)."""
        return len(self.shape) < 2 or (len(self.shape) > 2 and sum(size > 1 for size in self.shape) < 2)


@dataclass(frozen=True)
class Paths:
    """What a pattern can name in a model, by dotted path."""

    linear: dict[str, Layer]
    other: dict[str, OtherWeight]
    modules: list[str]  # all of them

    @staticmethod
    def of(model: nn.Module) -> Paths:
        linear: dict[str, Layer] = {}
        other: dict[str, OtherWeight] = {}
        modules = dict(model.named_modules())
        for path, module in modules.items():
            if any(parent in linear for parent in accumulate(path.split("."), "{}.{}".format)):
                continue  # a part of a linear layer, such as its parametrization
            if is_linear(module):
                linear[path] = cast(Layer, module)
                continue
            for name, parameter in module.named_parameters(recurse=False):
                if not name.endswith("bias"):
                    named = path if name == "weight" else f"{path}.{name}".lstrip(".")
                    other[named] = OtherWeight.of(name, parameter, module)
        return Paths(linear, other, list(modules))


def is_linear(module: nn.Module) -> bool:
    """Whether a module acts like nn.Linear; also true of quantised layers, which are not nn.Linear."""
    return all(hasattr(module, name) for name in ("in_features", "out_features", "weight"))


def _is_convolution(module: nn.Module | None) -> bool:
    return hasattr(module, "kernel_size")


def find_targets(model: nn.Module, cfg: AdapterConfig, *, strict: bool = True) -> dict[str, Layer]:
    """The layers that a config names, by dotted path, in the model's order.

    Args:
        strict: False for the config of a saved adapter, of which the file says which layers it has.

    Raises:
        AdapterError: nothing matched. Or, where strict, a part of the config does nothing on this model, or names a
            weight that cannot be adapted. The message has the nearest names that there are.
    """
    paths = Paths.of(model)
    named = [path for path in (*paths.linear, *paths.other) if _matches(path, cfg.target_names)]
    if cfg.target_names == (ALL_LINEAR,):
        named = _all_linear(model, paths)
    chosen = [path for path in named if not _matches(path, cfg.exclude_names) and _in_layers(path, cfg)]
    targets = {path: paths.linear[path] for path in chosen if path in paths.linear}
    if strict:
        _require_exclusions(paths, cfg)
        _require_linear(paths, cfg, chosen, kinds_left_out(model, cfg))
        _require_layers(paths, cfg, named, list(targets))
        if targets:
            _require_patterns(paths, cfg, list(targets))
    if not targets:
        where = "" if cfg.layers is None else f" in layers {list(cfg.layers)}"
        reason = "" if _is_default(cfg, "target_names") else _reason(paths, cfg, cfg.target_names[0])
        raise AdapterError(
            f"no linear layer matches target_names {list(cfg.target_names)}{where}{reason}{_kinds_there_are(paths)}"
        )
    return targets


def kinds_of(targets: Iterable[str]) -> str:
    """How many layers there are of which name, the last part of their path: `48 layers: 24 down_proj, 24 up_proj`."""
    counts = Counter(_last(path) for path in targets)
    total = counts.total()
    named = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f"{total} layer{'' if total == 1 else 's'}: {named}"


def kinds_left_out(model: nn.Module, cfg: AdapterConfig) -> str:
    """The matrices that "all-linear" does not adapt though a user may expect it: `2 gate (Qwen3MoeTopKRouter, 4 x 16)`.

    These are routers that are no linear layers, and matrices that are parameters of a module with several. Embeddings
    and convolutions are not listed, nor what `exclude_names` and `layers` leave out. Empty for a config that has names.
    """
    if cfg.target_names != (ALL_LINEAR,):
        return ""
    modules = dict(model.named_modules())
    counts = Counter(
        f"{_last(path)} ({weight})"
        for path, weight in Paths.of(model).other.items()
        if not (weight.is_vector or weight.kind in LIKE_LINEAR)
        and not (isinstance(modules.get(path), nn.Embedding) or _is_convolution(modules.get(path)))
        and not _matches(path, cfg.exclude_names)
        and _in_layers(path, cfg)
    )
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _all_linear(model: nn.Module, paths: Paths) -> list[str]:
    """Every path of a linear layer but the output head, and those of other weights that are linear all the same.

    PEFT's rule: tied to the embeddings or not, the head is not named.
    """
    find_head = cast("Callable[[], object]", getattr(model, "get_output_embeddings", lambda: None))
    head = find_head()
    return [path for path, layer in paths.linear.items() if layer is not head] + [
        path for path, weight in paths.other.items() if weight.kind in LIKE_LINEAR
    ]


def _require_exclusions(paths: Paths, cfg: AdapterConfig) -> None:
    """Raise AdapterError where an exclusion that is no default excludes nothing, whatever is named."""
    if _is_default(cfg, "exclude_names"):
        return
    there = [*paths.linear, *paths.other]
    for pattern in cfg.exclude_names:
        if not any(_matches(path, [pattern]) for path in there):
            reason = _reason(paths, cfg, pattern)
            raise AdapterError(f"exclude_names: {pattern!r} matches no layer{reason}{_kinds_there_are(paths)}")


def _require_linear(paths: Paths, cfg: AdapterConfig, chosen: list[str], left_out: str) -> None:
    """Raise AdapterError where a config names weights that cannot be adapted, beside linear layers or alone."""
    linear = {_last(path) for path in chosen if path in paths.linear}
    # Vectors, such as the scales of norms, are named by patterns for all of a block, and nobody means them.
    others = {path: paths.other[path] for path in chosen if path in paths.other and not paths.other[path].is_vector}
    if not others:
        return
    described = {f"{_last(path)} ({weight})": path for path, weight in reversed(others.items())}
    # An exclusion that is given replaces the default, so the advice repeats all that exclude something now.
    there = [*paths.linear, *paths.other]
    in_force = [pattern for pattern in cfg.exclude_names if any(_matches(path, [pattern]) for path in there)]
    needed = [_last(path, 2 if _last(path) in linear else 1) for path in others]
    exclusions = dict.fromkeys([*in_force, *needed])
    advice = "name others"
    if linear:  # can be pasted into Python and, where no pattern has a backslash, by itself into a shell
        advice = f"leave them out by exclude_names=[{','.join(map(repr, exclusions))}], or name other layers"
    raise AdapterError(
        f"target_names {list(cfg.target_names)} names weights that cannot be adapted, since they are no linear "
        f"layer's: {', '.join(reversed(described))}; {advice}"
        f"{f'; {ALL_LINEAR} itself leaves out {left_out}' if left_out else ''}{_kinds_there_are(paths)}"
    )


def _require_patterns(paths: Paths, cfg: AdapterConfig, targets: list[str]) -> None:
    """Raise AdapterError where a pattern that is no default has no target."""
    if _is_default(cfg, "target_names") or cfg.target_names == (ALL_LINEAR,):
        return
    for pattern in cfg.target_names:
        if not any(_matches(path, [pattern]) for path in targets):
            reason = _reason(paths, cfg, pattern)
            raise AdapterError(f"target_names: no layer is adapted for {pattern!r}{reason}{_kinds_there_are(paths)}")


def _require_layers(paths: Paths, cfg: AdapterConfig, named: list[str], targets: list[str]) -> None:
    """Raise AdapterError where a layer number has no target."""
    there = {_block_index(path) for path in paths.linear}
    with_targets = {_block_index(path) for path in targets}
    for number in cfg.layers or ():
        if number not in there:
            raise AdapterError(f"layers: {number} is no block of this model; it has {_ranges(there)}")
        possible = {_block_index(p) for p in named if p in paths.linear and not _matches(p, cfg.exclude_names)}
        if number not in with_targets and possible:
            raise AdapterError(f"layers: block {number} has no target; there are some in {_ranges(possible)}")


def _reason(paths: Paths, cfg: AdapterConfig, pattern: str) -> str:
    """Why a pattern is in vain, as the tail of a message; empty where nothing is near."""
    linear = [path for path in paths.linear if _matches(path, [pattern])]
    if linear and cfg.layers is not None:
        return f": of the {len(linear)} that it matches, none is in layers {list(cfg.layers)} and not excluded"
    if linear:
        return f": the {len(linear)} that it matches are excluded by {list(cfg.exclude_names)}"
    other = [path for path in paths.other if _matches(path, [pattern])]
    if other:
        return f": {_last(other[0])} ({paths.other[other[0]]}) cannot be adapted"
    if any(_matches(path, [pattern]) for path in paths.modules if path):
        return rf": it matches a module that holds layers; write '{pattern}\..*' for them"
    matrices = [path for path, weight in paths.other.items() if not weight.is_vector]
    names = list(dict.fromkeys(_last(path) for path in (*paths.linear, *matrices)))
    if "." in pattern.replace(".*", ""):
        names += paths.linear
    near = get_close_matches(pattern.replace("\\", ""), names, n=3, cutoff=0.5)
    return f"; the nearest: {', '.join(near)}" if near else ""


def _kinds_there_are(paths: Paths) -> str:
    return f"; this model has: {', '.join(sorted({_last(path) for path in paths.linear}))}"


def _ranges(numbers: Iterable[int | None]) -> str:
    """`0 to 23`, or `3, 7, 11` where numbers between are missing."""
    known = sorted(number for number in numbers if number is not None)
    if len(known) > 1 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]} to {known[-1]}"
    return ", ".join(map(str, known)) or "none"


def _is_default(cfg: AdapterConfig, name: str) -> bool:
    default = next(field.default for field in fields(cfg) if field.name == name)
    return set(getattr(cfg, name)) == set(cast("Sequence[str]", default))


def _last(path: str, parts: int = 1) -> str:
    return ".".join(path.split(".")[-parts:])


def _in_layers(path: str, cfg: AdapterConfig) -> bool:
    return cfg.layers is None or _block_index(path) in cfg.layers


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(rf"(?:.*\.)?(?:{pattern})", path) for pattern in patterns)


def _block_index(path: str) -> int | None:
    number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
    return int(number[1]) if number else None
