"""What every kind of variant says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from ...core.json_types import Json

Rank = int | Literal["full"] | None


class Method(ABC):
    """A variant by its settings, without a model.

    Attributes:
        variant: its name, as `RunConfig.variant` has it.
        tuned: whether anything is done to the model; False of the untuned model alone.
        trains: whether a learning rate means anything to it.
        mergeable: whether it can be merged into the weights at all.
        frozen_basis: whether it is of that family, which presets have a block for.
    """

    variant: str
    tuned: bool = True
    trains: bool = True
    mergeable: bool = True
    frozen_basis: bool = False

    @abstractmethod
    def fields(self) -> Mapping[str, Any]:
        """The type of each setting, by its own name."""

    def given(self, flat: Mapping[str, Any]) -> dict[str, Any]:
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
