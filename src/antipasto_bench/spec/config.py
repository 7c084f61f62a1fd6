"""What a run is: its settings, each with what it means for the run's identity; and the ids made of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

import antipasto
from antipasto.config import AdapterConfig

from ..core.fingerprint import digest, model_fingerprint
from ..core.json_types import Json
from ..core.paths import locate
from .allowed import one_line as problem_in_words
from .data_and_eval import SCORING_VERSION as SCORING_VERSION
from .data_and_eval import TRAINING, Strict
from .data_and_eval import DataConfig as DataConfig
from .data_and_eval import EvalConfig as EvalConfig
from .identity import NOT_IDENTITY, Counts, cost_settings, counts_of, identity
from .methods.method import Method
from .methods.package import PACKAGE
from .methods.registry import method_of
from .methods.untuned import BASE as BASE

# The words of the grammar that are written another way in an adapter's config.
ADAPTER_WORDS = {"rank": "r", "targets": "target_names", "exclude": "exclude_names"}

_PROTOCOL, _ARM = attrgetter("protocol"), attrgetter("arm")  # whether a field counts for these digests

OPTIMISER = Counts(when="trained", costs=False)


class RunConfig(Strict):
    """Everything that can change a run's outcome, and how it is made."""

    preset: Annotated[str, Counts(identity=False, costs=False)]
    model: Annotated[str, Counts(content=model_fingerprint, place=True)]
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    trust_remote_code: Annotated[bool, Counts(older=False)] = Field(
        False, description="run the Python files of the model's own; only for a model whose code you have read"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quant: Literal["none", "8bit", "4bit"] = Field("none", description="bitsandbytes quantisation of the base model")
    device: Annotated[str, NOT_IDENTITY] = Field(
        "auto", description="cuda where there is one, else cpu; no part of a run's identity"
    )
    device_map: Annotated[Literal["none", "auto"], Counts(identity=False, costs=False)] = Field(
        "none", description="auto spreads a base model over all GPUs; no part of a run's identity"
    )
    costs: Annotated[bool, Counts(identity=False, costs=False)] = Field(
        True, description="measure times and memory after the run; no part of its identity"
    )
    threads: Annotated[int | None, Counts(older=None)] = Field(
        None, ge=1, description="of torch on a CPU, on which results depend; all cores where null"
    )
    compile: Annotated[bool, Counts(when="trained", older=False)] = Field(
        False, description="train through torch.compile"
    )
    cuda_graphs: Annotated[bool, Counts(identity=False, costs=False)] = Field(
        False, description="on a GPU, replay a step's kernels as a CUDA graph; no part of a run's identity"
    )
    pack: Annotated[bool, Counts(when="trained", older=False)] = Field(
        False, description="train on rows that hold several examples, up to data.max_length"
    )
    checkpoint: Annotated[int, Counts(identity=False, costs=False)] = Field(
        50, ge=1, description="steps between checkpoints; no part of a run's identity"
    )
    checkpointing: Annotated[bool, Counts(identity=False)] = Field(
        False, description="compute activations again in the backward pass: less memory, the same steps"
    )
    valid_every: Annotated[int | None, Counts(identity=False, costs=False)] = Field(
        None,
        ge=1,
        description="steps between measurements of the held-out loss on the validation questions; none if null",
    )
    valid_every_limit: Annotated[int | None, Counts(identity=False, costs=False)] = Field(
        None, ge=1, description="only the first validation questions for valid_every; all where null"
    )
    track: Annotated[Literal["none", "trackio", "wandb", "tensorboard"], Counts(identity=False, costs=False)] = Field(
        "none", description="where steps are logged beside log.jsonl; no part of a run's identity"
    )
    variant: Annotated[str, Counts(protocol=False)]
    adapter: Annotated[dict[str, Any], Counts(protocol=False)]
    adapter_dtype: Annotated[
        Literal["float32", "bfloat16"], Counts(when="trained", protocol=False, older="float32")
    ] = Field("float32", description="of the trained parameters, and so of Adam's moments")
    lr: Annotated[float, Counts(when="trained", protocol=False, costs=False)] = Field(gt=0)
    lr_ratio: Annotated[float, Counts(when="trained", protocol=False, costs=False, older=1.0)] = Field(
        1.0, gt=0, description="the learning rate of B over that of A, which is lr: above 1 it is LoRA+"
    )
    seed: Annotated[int, Counts(when="trained", protocol=False, arm=False, costs=False)] = Field(0, ge=0, lt=2**32)
    steps: Annotated[int, OPTIMISER] = Field(ge=1)
    batch_size: Annotated[int, TRAINING] = Field(ge=1, description="examples in one forward pass")
    grad_accum: Annotated[int, OPTIMISER] = Field(1, ge=1, description="forward passes in one optimizer step")
    loss_on: Annotated[Literal["completion", "all"], Counts(when="trained", older="completion")] = Field(
        "completion", description="tokens that are learned: those of the response, or those of the question too"
    )
    loss_mean: Annotated[Literal["tokens", "micro-batches"], Counts(when="trained", costs=False, older="tokens")] = (
        Field("tokens", description="a step's loss: the mean over its tokens, or over its forward passes' own means")
    )
    schedule: Annotated[
        Literal["cosine", "linear", "constant"], Counts(when="trained", costs=False, older="cosine")
    ] = Field("cosine", description="how lr falls after its warm-up: to zero, or not at all")
    warmup: Annotated[float, OPTIMISER] = Field(0.1, ge=0, lt=1, description="share of the steps in which lr rises")
    weight_decay: Annotated[float, OPTIMISER] = Field(0.0, ge=0)
    optimizer: Annotated[
        Literal["adamw", "lora-fa", "riemannian", "loraplus"], Counts(when="trained", older="adamw")
    ] = Field("adamw", description="AdamW, or one of PEFT's for peft:lora")
    optimizer_reg: Annotated[float, Counts(when="trained", costs=False, older=0.01)] = Field(
        0.01, ge=0, description="of optimizer=riemannian: added to the diagonals that it inverts"
    )
    max_grad_norm: Annotated[float, OPTIMISER] = Field(1.0, gt=0)
    data: DataConfig
    eval: Annotated[EvalConfig, Counts(costs=False)]

    @property
    def adapter_config(self) -> AdapterConfig:
        """The settings of an adapter of the library.

        Raises:
            AdapterError: it is none of its adapters.
        """
        own = {key: value for key, value in self.adapter.items() if key != PACKAGE}
        return antipasto.AdapterConfig.from_dict({"variant": self.variant} | own)

    @property
    def method(self) -> Method:
        """What is known of its variant.

        Raises:
            UserError: it is not here.
        """
        return method_of(self.variant)

    @property
    def trains(self) -> bool:
        """Whether a learning rate means anything to it."""
        return self.method.trains

    @property
    def calibrates(self) -> bool:
        """Whether its adapter looks at calibration data when it is attached."""
        return self.method.calibrates(self.adapter)

    @property
    def rank(self) -> int | Literal["full"] | None:
        """`full` is min(d_in, d_out) of each target; None where the variant has no rank."""
        return self.method.rank(self.adapter)

    @property
    def arm_settings(self) -> Json:
        """All that tells arms of one variant and one table apart, but for lr: by the names that configs have for it."""
        return self.adapter | {name: getattr(self, name) for name in ARM_SETTINGS}

    @property
    def protocol(self) -> str:
        """Eight hex digits that two runs share where only their adapters, learning rates and seeds differ."""
        return self._digest(False, _PROTOCOL)  # no setting of calibration is the protocol's; the variant is not asked

    @property
    def scoring(self) -> str:
        """Eight hex digits that two runs share where the same model is scored in the same way, however trained."""
        return digest(identity(self, trained=False, calibrated=False, keep=_PROTOCOL))

    @property
    def arm(self) -> str:
        """Eight hex digits that two runs share where only their seeds differ."""
        return self._digest(self.calibrates, _ARM)

    @property
    def cost_key(self) -> str:
        """Equal for two runs whose adapters cost the same: the settings that can change what an adapter costs."""
        return digest(cost_settings(self))

    @property
    def run_id(self) -> str:
        """Readable fields, then eight hex digits of all that can change the outcome. Safe as a file name.

        <model>__<variant>[__rot<V|U|both|none>]__r<rank>__lr<lr>__s<steps>__seed<seed>__<8 hex>
        """
        place = locate(self.model)
        name = place.name if place else self.model.rpartition("/")[2]
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:48] or "model"
        parts = [slug, self.variant.replace(":", "-")]
        if self.variant != BASE:
            if "rotate_basis" in self.adapter:
                parts.append(f"rot{self.adapter['rotate_basis']}")
            if self.rank is not None:
                parts.append(f"r{self.rank}")
            if self.trains:
                parts += [f"lr{self.lr:g}", f"s{self.steps}"]
            parts.append(f"seed{self.seed}")
        return "__".join([*parts, self._digest(self.calibrates)])

    @property
    def content(self) -> str:
        """The id without the name of the model's folder: equal for two runs of the same content."""
        return content_of(self.run_id)

    def digests(self, calibrates: bool) -> dict[str, str]:
        """Every digest that a row of the run holds, by the row's field; of `run_id` its last part.

        Args:
            calibrates: what the property says; a variant that is not here cannot be asked.
        """
        return {
            "protocol": self._digest(calibrates, _PROTOCOL),
            "scoring": self.scoring,
            "arm": self._digest(calibrates, _ARM),
            "run_id": self._digest(calibrates),
        }

    def _digest(self, calibrates: bool, keep: Callable[[Counts], bool] | None = None) -> str:
        # A variant without anything to train still depends on the seed and the data: only `base` is untrained.
        return digest(identity(self, trained=self.variant != BASE, calibrated=calibrates, keep=keep))


def _tells_arms_apart(counts: Counts) -> bool:
    return counts.identity and counts.arm and not counts.protocol


# Of training, beside lr, and in no adapter's own config: two arms of one table can differ in them.
ARM_SETTINGS = tuple(
    name
    for name, field in RunConfig.model_fields.items()
    if _tells_arms_apart(counts_of(field)) and name not in ("variant", "adapter", "lr")
)


def content_of(run_id: str) -> str:
    """A run's id without the name of its model: the digest in it is of the model's content, whatever its name."""
    return run_id.partition("__")[2] or run_id


def one_line(error: ValidationError, model: type[BaseModel] = RunConfig) -> str:
    """The first problem for people: the key as typed, the value that was given, and what may stand there.

    Args:
        model: that the values were read into.
    """
    return problem_in_words(error, model)
