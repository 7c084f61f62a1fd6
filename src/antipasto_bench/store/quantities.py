"""Every quantity that is shown of a run, once: its unit, which direction is better, and how each place shows it.

A place that shows numbers of runs reads this list: the tables, the axes of the drawings, the page, the text and the
JSON of `cost`. They show quantities in the order of the list. A new cost is a field of the record (store/record.py),
the code that measures it (run/costs.py), and one entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TableColumn:
    """A column of README's tables and of the page's."""

    table: Literal["scores", "costs", "both"]
    header: str
    meaning: str  # for readers of the page
    scale: float | None = None  # in place of the quantity's; so below
    format: str | None = None
    suffix: str = ""
    counted: bool = False  # a whole number that is the same for every seed: not averaged, and 0 where there is none
    zero_is_blank: bool = False
    brackets: str = ""  # what stands behind the number in cells that have brackets, for readers of the page


@dataclass(frozen=True)
class Axis:
    """An axis of the drawings of accuracy against cost."""

    title: str | None = None  # the quantity's label where None


@dataclass(frozen=True)
class RunCard:
    """A line of what the page says of a single run."""

    label: str | None = None
    scale: float | None = None
    format: str | None = None


@dataclass(frozen=True)
class RunList:
    """A column of the page's list of every run."""

    header: str
    format: str
    scale: float | None = None


@dataclass(frozen=True)
class Phrase:
    """Some words of what `cost` and `measure --costs` print."""

    words: str  # with {} where the number stands, and its ratio to the base
    scale: float | None = None
    format: str | None = None
    first: bool = False  # before those that are not


@dataclass(frozen=True)
class FromShapes:
    """What `cost` counts on the shapes of a model, before anything is loaded."""

    field: str  # of run.shape_costs.ShapeCosts
    phrase: Phrase | None = None  # in JSON alone where None
    base: str | None = None  # the field that holds the base's own; a percentage of it is added


@dataclass(frozen=True)
class Quantity:
    """A number of a run, and the places that show it; a place that is None does not."""

    field: str  # of the record, or a property of it; of ShapeCosts where no place but `shapes` shows it
    label: str  # for people, with the unit of the shown value
    unit: str  # of the recorded value
    better: Literal["lower", "higher"] | None = None
    scale: float = 1.0  # from the recorded value to the shown one
    format: str = ""  # of the shown value, in Python's format language
    base: str | None = None  # the field that holds the base model's own measurement; the ratio to it is shown
    column: TableColumn | None = None
    axis: Axis | None = None
    run_card: RunCard | None = None
    run_list: RunList | None = None
    phrase: Phrase | None = None
    shapes: FromShapes | None = None
    cost_json: bool = False  # whether `cost --json` has it, and the base's own

    def __post_init__(self) -> None:
        if self.axis is not None and self.better != "lower":
            raise ValueError(f"{self.field} has an axis: of the costs that are drawn, lower must be better")

    def text(
        self,
        value: float | str,
        place: TableColumn | RunCard | RunList | Phrase | None = None,
        base: float | None = None,
    ) -> str:
        """A recorded value as a place shows it, scaled and formatted.

        Args:
            base: the base model's own; the ratio to it is added, as in `41.2 (1.21x)`.
        """
        scale = self.scale if place is None or place.scale is None else place.scale
        how = self.format if place is None or place.format is None else place.format
        if isinstance(value, str):
            return format(value, how)
        shown = format(value if scale == 1 else value * scale, how)
        return f"{shown} ({value / base:.2f}x)" if base else shown

    def own(self, untuned: bool) -> str:
        """The field that holds a model's own value: that of the untuned model is the base's."""
        return self.base if untuned and self.base is not None else self.field

    @property
    def axis_title(self) -> str:
        return (self.axis.title if self.axis is not None else None) or self.label


QUANTITIES = (
    # ---- scores
    Quantity(
        "test_accuracy", "test %", "share of questions", "higher", scale=100, format=".1f",
        column=TableColumn("both", "test %", "accuracy by the rules named below ± one standard error, over questions "
                           "and seeds"),
        run_card=RunCard(), run_list=RunList("test %", ",.1f"),
    ),
    Quantity("test_stderr", "± one standard error", "share of questions", "lower", scale=100, format=".1f",
             run_card=RunCard("± one standard error, over questions as if independent")),
    Quantity(
        "test_strict", "strict %", "share of questions", "higher", scale=100, format=".1f",
        column=TableColumn("scores", "strict %", "by strict-match: only answers that were announced, the last of them"),
        run_card=RunCard(), run_list=RunList("strict %", ",.1f"),
    ),
    Quantity("test_repeating", "answers that end in a text they repeat, %", "share of answers", "lower", scale=100,
             format=".1f", run_card=RunCard()),
    Quantity(
        "test_loss", "test loss", "nats a completion token", "lower", format=".4f",
        column=TableColumn("scores", "test loss", "of the reference solutions, nats a completion token ± one standard "
                           "error, over questions and seeds"),
        run_card=RunCard("test loss, nats a token"), run_list=RunList("test loss", ".4f"),
    ),
    Quantity("test_loss_stderr", "± one standard error of test loss", "nats a completion token", "lower", format=".4f",
             run_card=RunCard("± one standard error, over questions as if independent")),
    Quantity(
        "valid_accuracy", "valid %", "share of questions", "higher", scale=100, format=".1f",
        column=TableColumn("scores", "valid %", "on the questions that learning rates are chosen by"),
        run_card=RunCard(), run_list=RunList("valid %", ",.1f"),
    ),
    Quantity(
        "valid_loss", "valid loss", "nats a completion token", "lower", format=".4f",
        column=TableColumn("scores", "valid loss", "test loss on the validation questions"),
        run_card=RunCard("valid loss, nats a token"),
    ),
    Quantity("valid_loss_stderr", "± one standard error of valid loss", "nats a completion token", "lower",
             format=".4f", run_card=RunCard("± one standard error, over questions as if independent")),
    Quantity("general_loss_base", "loss on general text, before", "nats a token", "lower", format=".3f",
             run_card=RunCard()),
    Quantity("general_loss", "loss on general text, after", "nats a token", "lower", format=".3f",
             run_card=RunCard("after")),
    Quantity("forgetting", "rise of the loss on general text", "nats a token", "lower", format="+.2f",
             column=TableColumn("scores", "forgets", "rise of the loss on general text, nats a token")),

    # ---- size
    Quantity(
        "trained_parameters", "trained parameters", "parameters", "lower", format=",",
        column=TableColumn("costs", "params", "trained parameters", counted=True),
        axis=Axis(), run_card=RunCard(), run_list=RunList("params", ",.0f"),
        shapes=FromShapes("trainable_params", Phrase("{} parameters", format=">13,", first=True)), cost_json=True,
    ),
    Quantity(
        "adapter_bytes", "adapter file, kB", "bytes", "lower", scale=1e-3, format=".0f",
        column=TableColumn("costs", "adapter kB", "its file"),
        axis=Axis(), run_card=RunCard("adapter, bytes", scale=1, format=","),
        shapes=FromShapes("adapter_bytes", Phrase("{} MB on disk", scale=1e-6, format="8.2f")), cost_json=True,
    ),
    Quantity(
        "added_macs_per_token", "added MACs a token", "multiply-accumulates a token", "lower", format=",",
        column=TableColumn("costs", "+MACs/token", "multiply-accumulates that an unmerged adapter adds", scale=1e-6,
                           format=".3g", suffix="M", counted=True, zero_is_blank=True),
        axis=Axis(),
        shapes=FromShapes("added_macs_per_token", Phrase("{}M MACs/token", scale=1e-6, format="8.2f", first=True),
                          base="base_macs_per_token"),
        cost_json=True,
    ),
    Quantity(
        "parameters_per_token", "trained parameters a completion token", "parameters a token", format=".3g",
        column=TableColumn("costs", "params/token", "trained parameters for each completion token trained on, a "
                           "repeated example's counted once; at 2 bits a parameter and 1 bit a token 0.5 could store "
                           "them", brackets="the rank at which they could"),
        run_card=RunCard(),
    ),
    Quantity("frozen_bytes", "frozen tensors beside the adapter, bytes", "bytes", "lower", format=",",
             shapes=FromShapes("frozen_bytes"), cost_json=True),
    Quantity("targets", "adapted layers", "layers", shapes=FromShapes("targets", Phrase("{} layers")), cost_json=True),
    Quantity("base_params", "parameters of the base", "parameters", format=",", shapes=FromShapes("base_params"),
             cost_json=True),

    # ---- what is measured beside the base
    Quantity("priced_tokens", "tokens of the measured batch", "tokens", format=",", cost_json=True),
    Quantity(
        "forward_ms", "forward ms", "ms", "lower", format=",.1f", base="base_forward_ms",
        column=TableColumn("costs", "fwd ms", "one batch", brackets="the ratio to the untuned model in the same run"),
        axis=Axis(), phrase=Phrase("forward {} ms", first=True), cost_json=True,
    ),
    Quantity(
        "backward_ms", "backward ms", "ms", "lower", format=",.1f", base="base_backward_ms",
        column=TableColumn("costs", "bwd ms", "one batch",
                           brackets="the ratio to the base's gradients down to its embeddings"),
        axis=Axis(), phrase=Phrase("backward {} ms", first=True), cost_json=True,
    ),
    Quantity(
        "saved_bytes", "kept for backward, MB", "bytes", "lower", scale=1e-6, format=",.1f", base="base_saved_bytes",
        column=TableColumn("costs", "kept MB", "saved between forward and backward",
                           brackets="the ratio to the untuned model"),
        axis=Axis(), phrase=Phrase("keeps {} MB for backward"), cost_json=True,
    ),
    Quantity(
        "peak_bytes", "peak memory, MB", "bytes", "lower", scale=1e-6, format=",.0f",
        column=TableColumn("costs", "peak MB", "memory of attaching and training: the whole process on a CPU, what is "
                           "allocated on a GPU"),
        axis=Axis(), phrase=Phrase("peak {} MB", first=True), cost_json=True,
    ),
    Quantity(
        "attach_cold_s", "init seconds", "s", "lower", format=".2f",
        column=TableColumn("costs", "init s", "attaching, calibration and SVDs included"),
        axis=Axis(), phrase=Phrase("attach {} s cold"), cost_json=True,
    ),
    Quantity(
        "attach_warm_s", "init seconds with the SVDs cached", "s", "lower", format=".2f",
        column=TableColumn("costs", "cached", "init s with the SVDs cached"),
        phrase=Phrase("{} s warm"), cost_json=True,
    ),
    Quantity(
        "merge_s", "merge, ms", "s", "lower", scale=1e3, format=".1f",
        column=TableColumn("costs", "merge ms", "folding it into the weights"),
        phrase=Phrase("merge {} ms"), cost_json=True,
    ),

    # ---- training
    Quantity("first_loss", "first training loss", "nats a completion token", "lower", format=".3f",
             run_card=RunCard()),
    Quantity("last_loss", "last training loss", "nats a completion token", "lower", format=".3f", run_card=RunCard()),
    Quantity("valid_curve_text", "held-out loss while it trained", "nats a completion token", run_card=RunCard()),
    Quantity("mean_grad_norm", "mean gradient norm", "", format=".3g", run_card=RunCard()),
    Quantity(
        "train_s", "training seconds", "s", "lower", format=".0f",
        column=TableColumn("costs", "train s", "the whole training of a run"),
        axis=Axis(), run_card=RunCard("training, s"), run_list=RunList("train s", ",.0f"),
    ),
    Quantity(
        "train_tokens_per_s", "training tokens a second", "tokens/s", "higher", format=",.0f",
        column=TableColumn("costs", "train tok/s", "in those runs, padding not counted"),
    ),
    Quantity(
        "generated_tokens_per_s", "generated tokens a second", "tokens/s", "higher", format=",.1f",
        base="base_generated_tokens_per_s",
        column=TableColumn("costs", "gen tok/s", "generating, unmerged",
                           brackets="the ratio to the base"),
        phrase=Phrase("generates {} tokens/s"), cost_json=True,
    ),

    # ---- the run as a whole
    Quantity("load_s", "loading model and data, s", "s", "lower", format=".1f", run_card=RunCard()),
    Quantity("attach_s", "attaching the adapter, s", "s", "lower", format=".1f", run_card=RunCard()),
    Quantity("valid_curve_s", "held-out loss while it trained, s", "s", "lower", format=".0f", run_card=RunCard()),
    Quantity("eval_s", "scoring, s", "s", "lower", format=".0f", run_card=RunCard()),
    Quantity("total_s", "in all, but for costs, s", "s", "lower", format=".0f", run_card=RunCard()),
    Quantity("measure_s", "measuring forgetting, held-out loss and costs, s", "s", "lower", format=".0f",
             run_card=RunCard()),
    Quantity("finished_at", "finished", "UTC, ISO 8601", run_card=RunCard()),
)  # fmt: skip


def quantity(field: str, quantities: Sequence[Quantity] = QUANTITIES) -> Quantity:
    """The entry of a record's field.

    Raises:
        KeyError: there is none.
    """
    for entry in quantities:
        if entry.field == field:
            return entry
    raise KeyError(f"{field} is no quantity; see store/quantities.py")
