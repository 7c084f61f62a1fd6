"""Where the runs of a sweep are made: `engine=local`, in processes of this machine, or `engine=ray`, on a cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import UserError
from ..spec.config import one_line
from ..spec.grammar import parse_words

TEXT = ("address", "scratch")  # read as typed
ONLY_FOR_RAY = ("address", "gpus", "cpus", "scratch")


class Engine(BaseModel):
    """How the runs of a sweep are made; no part of any run's identity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    engine: Literal["local", "ray"] = "local"
    workers: int | None = Field(None, ge=1, description="runs at once")
    workers_per_gpu: int = Field(1, ge=1, description="runs at once on each GPU of this machine")
    address: str = Field("auto", description="of a Ray cluster, HOST:PORT")
    gpus: float = Field(1, gt=0, description="that each run takes of a Ray cluster which has any")
    cpus: int = Field(1, ge=1, description="that each run takes of a Ray cluster, and its threads")
    scratch: str | None = Field(None, description="folder on each node to make runs in, instead of outputs/")


def engine_of(words: list[str], workers: int | None, workers_per_gpu: int | None) -> tuple[Engine, list[str]]:
    """As `parse_engine`, with what options of the command say.

    Raises:
        UserError: as `parse_engine`.
    """
    options = {"workers": workers, "workers_per_gpu": workers_per_gpu}
    return parse_engine([*words, *(f"{name}={value}" for name, value in options.items() if value is not None)])


def parse_engine(words: list[str]) -> tuple[Engine, list[str]]:
    """Split the words of a sweep into how its runs are made, and which runs those are.

    Returns:
        the engine, and the words that are not about it.

    Raises:
        UserError: an unknown engine, or a value that does not fit.
    """
    engine_words = [word for word in words if "=" in word and word.partition("=")[0] in Engine.model_fields]
    _, axes = parse_words(engine_words, TEXT)
    for key, values in axes.items():
        if len(values) > 1:
            raise UserError(f"{key} says how the runs are made, and takes one value")
    settings = {key: values[0] for key, values in axes.items()}
    try:
        engine = Engine.model_validate(settings, strict=True)
    except ValidationError as error:
        raise UserError(one_line(error, Engine)) from error
    if engine.gpus > 1 and engine.gpus % 1:
        raise UserError(f"gpus={engine.gpus:g}: a run takes a part of one GPU, or whole ones")
    if engine.engine == "ray" and engine.workers_per_gpu > 1:
        part = 1 / engine.workers_per_gpu
        raise UserError(f"workers_per_gpu is for this machine; on a Ray cluster write gpus={part:.3g}")
    ray_keys = [key for key in settings if key in ONLY_FOR_RAY]
    if engine.engine == "local" and ray_keys:
        raise UserError(f"{ray_keys[0]} is for a Ray cluster; write engine=ray beside it")
    return engine, [word for word in words if word not in engine_words]
