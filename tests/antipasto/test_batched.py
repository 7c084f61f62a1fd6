"""Claims about what is computed in one batch for all targets: it is what each of them computes by itself."""

import copy
import dataclasses
import gc
from types import SimpleNamespace

import pytest
import torch
from tiny_model import Tiny, attach, configs, name_of, randomise, trained_configs
from torch import nn
from torch.utils.checkpoint import checkpoint

import antipasto
from antipasto import batched
from antipasto.batched import BATCHED_TARGETS, computed_alone

ROTATED = [cfg for cfg in configs() if getattr(cfg, "rotate_basis", "none") != "none"]


def adapted(cfg: antipasto.AdapterConfig) -> Tiny:
    torch.manual_seed(0)
    model = attach(Tiny(), cfg)
    randomise(model)
    return model


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(antipasto.trainable_parameters(model).values())))


def alone_in(model: Tiny, x: torch.Tensor) -> torch.Tensor:
    with computed_alone(model.lin1), computed_alone(model.lin2):
        return model(x)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 5, 20, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("cfg", ROTATED, ids=name_of)
def test_batched_targets_compute_what_each_does_alone(cfg, x):
    model = adapted(cfg)
    expected = alone_in(model, x)
    assert model.lin1.__dict__[BATCHED_TARGETS].results == {}
    output = model(x)
    assert model.lin1.__dict__[BATCHED_TARGETS].results.keys() == {model.lin1, model.lin2}
    torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(
        gradients(model, output.square().sum()), gradients(model, expected.square().sum()), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cfg", trained_configs(), ids=name_of)
def test_two_losses_may_be_summed_or_go_back_one_after_the_other(cfg, x):
    """Also where the same layer is called twice outside of the model's own forward pass."""
    for call in (Tiny.__call__, Tiny.forward):
        model = adapted(cfg)
        one, two = call(model, x).square().sum(), call(model, -x).sum()
        expected = gradients(model, one + two)
        one, two = call(model, x).square().sum(), call(model, -x).sum()
        one.backward()
        two.backward()
        for parameter, gradient in zip(antipasto.trainable_parameters(model).values(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cfg", ROTATED[:3], ids=name_of)
@pytest.mark.parametrize("call", [Tiny.__call__, Tiny.forward], ids=["model", "layers"])
def test_whatever_changes_a_tensor_changes_the_output(cfg, call, x):
    model = adapted(cfg)
    before = call(model, x).detach()
    optimizer = torch.optim.SGD(antipasto.trainable_parameters(model).values(), lr=0.1)
    call(model, x).square().sum().backward()
    optimizer.step()
    stepped = call(model, x).detach()
    torch.testing.assert_close(stepped, alone_in(model, x))
    assert not torch.allclose(stepped, before)
    with torch.no_grad():
        model.lin2.lora_rot_T += 0.1
    torch.testing.assert_close(call(model, x), alone_in(model, x))
    model.lin1.lora_delta_s = nn.Parameter(model.lin1.lora_delta_s.detach() + 1)
    torch.testing.assert_close(call(model, x), alone_in(model, x))


def test_a_write_that_autograd_cannot_see_is_seen_by_the_next_pass_and_by_merging(x):
    model = adapted(ROTATED[0])
    model(x)
    model.lin1.lora_rot_T.data += 0.5
    expected = alone_in(model, x).detach()
    torch.testing.assert_close(model(x), expected)
    model.lin1.lora_rot_T.data += 0.5
    expected = alone_in(model, x).detach()
    antipasto.merge(model)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_scoring_between_steps_changes_no_gradient(x):
    model = adapted(ROTATED[0])
    expected = gradients(model, model(x).sum())
    with torch.inference_mode():
        model.forward(x)
    with torch.no_grad():
        model.forward(x)
    for ours, theirs in zip(gradients(model, model.forward(x).sum()), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_copy_and_a_detached_model_keep_nothing_of_the_first(x):
    model = adapted(ROTATED[0])
    before = model(x).detach()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lin1.lora_rot_T += 0.5
    assert not torch.allclose(other(x), before)
    assert torch.equal(model(x), before)
    antipasto.detach(other)
    assert BATCHED_TARGETS not in other.lin1.__dict__
    assert BATCHED_TARGETS in model.lin1.__dict__


class Checkpointed(Tiny):
    reentrant = False

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        for layer in (self.lin1, nn.Tanh(), self.lin2):
            x = checkpoint(layer, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("cfg", trained_configs(), ids=name_of)
def test_gradients_are_the_same_where_activations_are_checkpointed(cfg, reentrant, x):
    plain = adapted(cfg)
    model = adapted(cfg)
    model.__class__ = Checkpointed
    model.reentrant = reentrant
    x = x.requires_grad_()
    for given in (plain, model):
        given(x).square().sum().backward()
    for name, parameter in antipasto.trainable_parameters(plain).items():
        ours = antipasto.trainable_parameters(model)[name].grad
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cfg", configs(), ids=name_of)
def test_a_compiler_meets_no_break_in_a_target(cfg, x):
    """Nor in the backward pass; what is traced gives the same numbers."""
    torch._dynamo.reset()
    cfg = dataclasses.replace(cfg, target_names=("lin1",))  # a second target would be traced in the same way
    model = adapted(cfg) if cfg.trains else attach(Tiny(), cfg)
    expected = model(x)
    output = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    if expected.requires_grad:
        for ours, theirs in zip(
            gradients(model, output.square().sum()), gradients(model, expected.square().sum()), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rotate_basis", ["V", "both"])
def test_backward_goes_without_the_autocast_that_forward_had(rotate_basis):
    grads = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model, x = Tiny(), torch.randn(5, 20)
        cfg = antipasto.AntiPaSTOConfig(r=8, rotate_basis=rotate_basis, target_names=("lin1",))
        antipasto.attach(model, cfg, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            y = model(x)
        y.float().square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in antipasto.trainable_parameters(model).values()]))
    assert (grads[1] - grads[0]).norm() < 0.05 * grads[0].norm()


def test_a_stored_result_is_not_used_where_another_tensor_is_to_learn():
    """A layer called by itself, outside of its model: no hook of the model clears the stored results."""
    torch.manual_seed(0)
    model, x = Tiny(), torch.randn(5, 20)
    antipasto.attach(model, antipasto.AntiPaSTOConfig(r=8, target_names=("lin1",)))
    model.lin1(x)
    model.lin1.lora_rot_T.requires_grad_(False)
    model.lin1(x).square().sum().backward()
    assert model.lin1.lora_rot_T.grad is None
    assert model.lin1.lora_delta_s.grad is not None


@pytest.mark.parametrize("cfg", ROTATED, ids=name_of)
def test_a_training_step_leaves_no_tensor_behind(cfg, x):
    model = adapted(cfg)
    parameters = list(antipasto.trainable_parameters(model).values())
    optimizer = torch.optim.SGD(parameters, lr=1e-3)

    def tensors_after(steps: int) -> int:
        for _ in range(steps):
            model(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        gc.collect()
        return sum(issubclass(type(item), torch.Tensor) for item in gc.get_objects())

    first = tensors_after(5)
    assert tensors_after(20) <= first


def test_a_result_recorded_while_a_cuda_graph_is_captured_is_none_to_any_other_call(monkeypatch):
    """Nothing was computed then: after a capture that failed it would be whatever lay in the memory."""
    tensor = SimpleNamespace(device=torch.device("cuda"), data_ptr=lambda: 1, requires_grad=True, _version=0)
    states = []
    for capturing in (True, False, True):
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda capturing=capturing: capturing)
        states.append(batched._input_state([tensor], torch.float32))
    assert states[0] == states[2] != states[1]
