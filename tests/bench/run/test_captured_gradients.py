"""Claims about steps by graphs: those of a plain step, in few shapes, and plain ones where no graph can be had.

Graphs are replayed by calling what was captured: the padding, the memory that they share and what is done where one
fails are the same on a GPU, where tests/bench/run/test_runs_on_a_gpu.py captures for real.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator
from transformers import AutoConfig, AutoModelForCausalLM

import antipasto
from antipasto_bench.core.errors import UserError
from antipasto_bench.run.attach import attach
from antipasto_bench.run.captured_gradients import CaptureError, check_capturing
from antipasto_bench.run.completion_loss import CompletionLoss
from antipasto_bench.run.examples import Example, collate
from antipasto_bench.run.models import load_model
from antipasto_bench.run.step import AdapterOptimizer
from antipasto_bench.spec.compose import compose

pytestmark = pytest.mark.slow


class CalledAgain:
    """What is captured is called again. `factor` is of the gradients that it gives."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.captured = factor, 0

    @contextmanager
    def working(self) -> Iterator[None]:
        yield

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        if self.factor == 1.0:
            return work

        def replay() -> None:
            parameters = [p for p in self.of.parameters() if p.requires_grad]
            handles = [p.register_hook(lambda grad: grad * self.factor) for p in parameters]
            work()
            for handle in handles:
                handle.remove()

        return replay


class Refusing(CalledAgain):
    """A device that cannot capture what a model does."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        raise CaptureError("operation not permitted when stream is capturing")


def adapted(kind="llama", variant="lora", **more):
    """A tiny model in float64 with an adapter that is not at its start."""
    torch.manual_seed(0)
    small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    config = AutoConfig.for_model(kind, num_attention_heads=4, num_key_value_heads=2, **small | more)
    model = AutoModelForCausalLM.from_config(config).double()
    cfg = antipasto.CONFIGS[variant](r=4, target_names=(".*_proj",))
    antipasto.attach(model, cfg, generator=Generator().manual_seed(0))
    for tensor in antipasto.trainable_parameters(model).values():
        torch.nn.init.normal_(tensor, std=0.1)
    return model


def batch_of(lengths, prompts, seed=0):
    generator = Generator().manual_seed(seed)
    drawn = [torch.randint(1, 64, (length,), generator=generator).tolist() for length in lengths]
    return collate([Example(ids, prompt, "", "") for ids, prompt in zip(drawn, prompts, strict=True)], 0)


BATCHES = [  # of two shapes, each seen three times; rows of one micro-batch are of unlike lengths
    batch_of([60, 50, 31], [40, 20, 30], 0),
    batch_of([130, 90, 100], [30, 20, 99], 1),
    batch_of([64, 12, 40], [50, 8, 25], 2),
    batch_of([150, 30, 66], [70, 20, 1], 3),
    batch_of([33, 34, 35], [20, 22, 30], 4),
    batch_of([129, 140, 9], [40, 60, 8], 5),
]


def gradients(optimizer, micro_batches):
    """Loss and gradients of a step that moves nothing."""
    grads = []
    optimizer.optimizer.step = lambda: grads.extend(p.grad.clone() for p in optimizer.parameters)
    return optimizer.step(micro_batches, lr=0.0).read()[0], grads


RUN = compose("lora", {"max_grad_norm": 1e9}, "nano")
KINDS = [("llama", {}), ("gemma2", {"final_logit_softcapping": 5.0})]  # with a plain head, and without


@pytest.mark.parametrize(("kind", "more"), KINDS)
@pytest.mark.parametrize("variant", ["lora", "antipasto", "hra", "dora"])
def test_a_replayed_step_has_the_loss_and_the_gradient_of_a_plain_one(kind, more, variant):
    model = adapted(kind, variant, **more)
    plain = AdapterOptimizer(model, RUN)
    by_graphs = AdapterOptimizer(model, RUN, graphs=CalledAgain())
    for micro_batches in ([BATCHES[0]], BATCHES[1:3], BATCHES[3:], BATCHES):
        loss, grads = gradients(by_graphs, micro_batches)
        expected, expected_grads = gradients(plain, micro_batches)
        assert loss == pytest.approx(expected, rel=1e-10)
        for one, other in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)  # adapters are kept in float32
    # Of 12 batches four are the first of a shape; six tokens more or fewer make no other one.
    assert by_graphs._captured.replayed >= 6


def test_steps_by_graphs_train_as_plain_ones_do():
    losses = []
    for graphs in (None, CalledAgain()):
        model = adapted()
        optimizer = AdapterOptimizer(model, RUN, graphs=graphs)
        losses.append([optimizer.step([batch], lr=3e-2).read()[0] for batch in BATCHES * 4])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[1][18] < losses[1][0] - 0.02, "it learned"


@given(
    rows=st.lists(st.tuples(st.integers(2, 500), st.floats(0, 1)), min_size=1, max_size=8),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_padding_that_leaves_few_shapes_changes_no_loss(rows, seed):
    """Also where logits are computed in chunks of seven tokens."""
    loss_of = _loss_of_a_model()
    lengths = [length for length, _ in rows]
    batch = batch_of(lengths, [min(length - 1, max(1, int(part * length))) for length, part in rows], seed)
    inputs = loss_of.prepare_in_few_shapes(batch)
    width = inputs.inputs["input_ids"].shape[1]
    assert width % 64 == 0 or width == 500, "no wider than the model has positions"
    assert 0 <= width - max(lengths) < 64
    tokens = len(rows) * width
    assert len(inputs.labels) == len(inputs.positions)
    assert len(inputs.labels) in [tokens * part // 4 for part in (1, 2, 3, 4)]
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        expected = loss_of(batch).item()
        assert loss_of.compute(inputs).item() == pytest.approx(expected, rel=1e-6)
        patch.setattr("antipasto_bench.run.completion_loss.LOGITS_BYTES", 4 * 64 * 7)
        assert loss_of.compute(inputs).item() == pytest.approx(expected, rel=1e-6)


_MADE: list[CompletionLoss] = []


def _loss_of_a_model():
    if not _MADE:
        _MADE.append(CompletionLoss(adapted(num_hidden_layers=1, max_position_embeddings=500)))
    return _MADE[0]


@pytest.mark.parametrize(
    ("graphs", "why"),
    [
        (Refusing(), "operation not permitted when stream is capturing"),
        (CalledAgain(1.5), "the gradient of its graph is not the plain step's: 5.0e.02 tolerances"),
    ],
    ids=["refuses", "gives another gradient"],
)
def test_where_no_graph_can_be_had_the_step_is_a_plain_one_and_says_why(graphs, why):
    model = adapted()
    graphs.of = model
    plain, by_graphs = AdapterOptimizer(model, RUN), AdapterOptimizer(model, RUN, graphs=graphs)
    gradients(by_graphs, BATCHES[:2])
    with pytest.warns(UserWarning, match=f"^cuda_graphs: going on without, and the same step: {why}"):
        loss, grads = gradients(by_graphs, BATCHES[2:4])
    expected, expected_grads = gradients(plain, BATCHES[2:4])
    assert loss == expected
    assert all(torch.equal(one, other) for one, other in zip(grads, expected_grads, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradients(by_graphs, BATCHES)


def test_memory_that_lacks_beside_graphs_is_asked_for_again_without_them(monkeypatch):
    model = adapted()
    by_graphs = AdapterOptimizer(model, RUN, graphs=CalledAgain())
    expected = gradients(by_graphs, BATCHES[:2])
    compute = CompletionLoss.compute

    def lacking(self, inputs, each_token=False):
        if by_graphs._captured is not None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return compute(self, inputs, each_token)

    monkeypatch.setattr(CompletionLoss, "compute", lacking)
    with pytest.warns(UserWarning, match="going on without, and the same step: CUDA out of memory"):
        loss, _ = gradients(by_graphs, BATCHES[:2])
    assert loss == pytest.approx(expected[0], rel=1e-10)
    assert by_graphs.rows_at_once is None, "whole micro-batches fit where no graph takes memory"


def test_a_tensor_s_own_gradient_is_compared_however_small_it_is_beside_the_others():
    model, graphs = adapted(), CalledAgain()
    by_graphs = AdapterOptimizer(model, RUN, graphs=graphs)
    with torch.no_grad():  # B near 0 makes A's gradient small
        for name, parameter in antipasto.trainable_parameters(model).items():
            parameter.mul_(1e-5 if name.endswith("lora_B") else 1)
    gradients(by_graphs, BATCHES[:1])
    first = antipasto.trainable_parameters(model)["model.layers.0.mlp.down_proj.lora_A"]
    capture = graphs.capture

    def of_another(work):
        replay = capture(work)

        def wrong():
            handle = first.register_hook(torch.neg)
            replay()
            handle.remove()

        return wrong

    graphs.capture = of_another
    with pytest.warns(UserWarning, match="the gradient of one tensor of its graph is not the plain step's: 1.0e\\+02"):
        gradients(by_graphs, BATCHES[:1])


@pytest.mark.parametrize("graphs", [None, CalledAgain()])
def test_what_is_given_no_gradient_is_left_alone_by_the_optimizer(graphs):
    """As plain steps leave it: it has no weight decay either."""
    model = adapted()
    model.model.layers[1].mlp.forward = torch.zeros_like  # as an expert that no token is sent to
    run = compose("lora", {"weight_decay": 0.5}, "nano")
    optimizer = AdapterOptimizer(model, run, graphs=graphs)
    before = {name: p.detach().clone() for name, p in antipasto.trainable_parameters(model).items()}
    for batch in [*BATCHES, *BATCHES]:
        optimizer.step([batch], lr=1e-2)
    if graphs is not None:
        assert optimizer._captured.replayed == 9
    for name, parameter in antipasto.trainable_parameters(model).items():
        assert torch.equal(parameter, before[name]) == ("layers.1.mlp" in name), name


@pytest.mark.parametrize("variant", ["full", "bitfit"])
def test_weights_in_bfloat16_have_gradients_in_float32_by_graphs_too(variant, tokenizer):
    steps = []
    for graphs in (None, CalledAgain()):
        run = compose(variant, {"dtype": "bfloat16", "max_grad_norm": 1e9}, "nano")
        model, _ = load_model(run)
        if variant == "bitfit":
            for layer in model.model.layers:
                layer.mlp.down_proj.bias = torch.nn.Parameter(torch.zeros(128, dtype=torch.bfloat16))
        attach(run, model, tokenizer, [])
        optimizer = AdapterOptimizer(model.train(), run, graphs=graphs)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            steps.append([gradients(optimizer, [batch]) for batch in BATCHES])
    for (loss, grads), (expected, expected_grads) in zip(*steps, strict=True):
        assert loss == pytest.approx(expected, rel=1e-2)
        for one, other in zip(grads, expected_grads, strict=True):
            assert one.dtype == torch.float32
            assert (one - other).norm() <= 0.1 * other.norm()


def test_no_more_graphs_are_captured_than_memory_is_meant_for(monkeypatch):
    monkeypatch.setattr("antipasto_bench.run.captured_gradients.MOST_GRAPHS", 1)
    model, graphs = adapted(), CalledAgain()
    by_graphs = AdapterOptimizer(model, RUN, graphs=graphs)
    for _ in range(3):
        gradients(by_graphs, BATCHES)
    assert graphs.captured == 1


def test_a_run_without_a_gpu_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^cuda_graphs=true needs a GPU, and nano is not wholly on one; leave it out$"):
        check_capturing(compose("lora", {"cuda_graphs": True}, "nano"), adapted())
    check_capturing(compose("lora", {}, "nano"), adapted())


@pytest.mark.parametrize(
    ("variant", "more", "why"),
    [
        ("lora", {"compile": True}, "compile=true cuda_graphs=true: torch.compile makes "),
        ("full", {"pack": True}, "pack=true cuda_graphs=true: the host works out a mask"),
        ("antipasto", {"checkpointing": True}, "checkpointing=true cuda_graphs=true: the backward pass"),
    ],
)
def test_what_no_graph_can_hold_is_refused_before_anything_runs(variant, more, why):
    with pytest.raises(UserError, match=f"^{why}"):
        compose(variant, {"cuda_graphs": True} | more, "nano")
    assert compose(variant, more, "nano").cuda_graphs is False


@pytest.mark.parametrize("variant", ["peft:lora", "peft:adalora"])
def test_methods_whose_steps_may_differ_take_plain_ones_so_that_a_sweep_can_hold_them(variant):
    run = compose(variant, {"cuda_graphs": True}, "nano")
    assert not run.method.steps_alike
    assert run.run_id == compose(variant, {}, "nano").run_id
    assert all(compose(name, {}, "nano").method.steps_alike for name in ("lora", "antipasto", "full", "bitfit"))
