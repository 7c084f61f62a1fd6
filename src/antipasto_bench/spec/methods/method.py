"""What every kind of variant says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ...core.json_types import Json

if TYPE_CHECKING:  # of a library that imports torch
    from antipasto import Description

Rank = int | Literal["full"] | None


class Method(ABC):
    """A variant by its settings, without a model.

    Attributes:
        variant: its name, as `RunConfig.variant` has it.
        tuned: whether anything is done to the model; False of the untuned model alone.
        trains: whether a learning rate means anything to it.
        factors: whether it trains both factors of a product B A, which `lr_ratio` tells apart.
        adds_parameters: whether it trains tensors of its own, whose dtype is `adapter_dtype`.
        mergeable: whether it can be merged into the weights at all.
        needs_whole_model: whether its shapes follow only from transformers' own model, and not from its layers alone.
        frozen_basis: whether it is of that family, which presets have a block for.
        steps_alike: whether each of its training steps does the same operations on the same tensors.
    """

    variant: str
    tuned: bool = True
    trains: bool = True
    factors: bool = False
    adds_parameters: bool = True
    mergeable: bool = True
    needs_whole_model: bool = False
    frozen_basis: bool = False
    steps_alike: bool = False

    @abstractmethod
    def fields(self) -> Mapping[str, Any]:
        """The type of each setting, by its own name."""

    def given(self, flat: Mapping[str, Any]) -> Json:
        """Those of a run's flat settings that are its own, by its own names.

        Args:
            flat: by the names of `ADAPTER_WORDS`, see `presets.flatten`; other variants' settings are among them.
        """
        fields = self.fields()
        return {name: value for name, value in flat.items() if name in fields}

    @abstractmethod
    def canonical(self, values: Mapping[str, Any]) -> tuple[str, Json]:
        """The one spelling of all settings of the same computation: the variant that it belongs to, and its settings.

        Args:
            values: of some fields, each of its type; the others have their defaults.

        Raises:
            AdapterError: a value is impossible.
        """

    def problem(self, adapter: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
        """Why it cannot be trained in a run of some settings; None where it can.

        Args:
            adapter: canonical settings.
            settings: of the run, by the names of `RunConfig`'s fields.
        """
        if settings["optimizer"] != "adamw":
            return f"optimizer={settings['optimizer']} is made for peft:lora; write optimizer=adamw"
        return None

    @abstractmethod
    def calibrates(self, adapter: Mapping[str, Any]) -> bool:
        """Whether it looks at calibration data when it is attached.

        Args:
            adapter: canonical settings, as a record has them.
        """

    @abstractmethod
    def rank(self, adapter: Mapping[str, Any]) -> Rank:
        """Its rank; `full` is min(d_in, d_out) of each target, and None that it has none."""

    def describe(self) -> Description:
        """It in words."""
        import antipasto

        return antipasto.Description(self.variant, "", "", "", "", "", "", True, self.mergeable)

    def counts(self, adapter: Mapping[str, Any], d_in: int, d_out: int) -> tuple[int, int] | str:
        """Trained parameters and added MACs a token on one (d_out, d_in) target; in words why there are none.

        Args:
            adapter: canonical settings.

        Raises:
            AdapterError: it does not fit that shape.
        """
        return "not known of a single weight; of a model: cost --meta"

    def unused(self, adapter: Mapping[str, Any]) -> set[str]:
        """The settings that change nothing under the values of the others."""
        return set()
