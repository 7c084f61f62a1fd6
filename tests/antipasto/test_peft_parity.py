"""Claims against PEFT: with the same weights in both, each shared method gives the same outputs and gradients.

fp32, shapes that are not round, with and without bias, alpha other than r; agreement to 1e-5 relative.
"""

import copy

import peft
import pytest
import torch
from tiny_model import Tiny, attach, randomise
from torch import nn

import antipasto
from antipasto import (
    DeLoRAConfig,
    DoRAConfig,
    EVAConfig,
    HRAConfig,
    IA3Config,
    IA3FFConfig,
    LoRAConfig,
    LoRAXSConfig,
    PiSSAConfig,
    RoadConfig,
)

TARGETS = ["lin1", "lin2"]  # one with a bias, one without
SHAPES = [(21, 28, 12), (37, 20, 52)]
GAIN = {"target_modules": TARGETS}
LOW_RANK = {"r": 6, "lora_alpha": 9, "target_modules": TARGETS}


def weight(layer):
    return layer["default"].weight


# variant: our config; PEFT's; their parameter in a layer, and how ours is laid out there, for each of our names.
PAIRS = {
    "lora": (
        LoRAConfig(r=6, alpha=9.0, target_names=TARGETS),
        peft.LoraConfig(**LOW_RANK),
        {"lora_A": lambda m: weight(m.lora_A), "lora_B": lambda m: weight(m.lora_B)},
    ),
    "eva": (
        EVAConfig(r=6, alpha=9.0, target_names=TARGETS),
        peft.LoraConfig(**LOW_RANK),
        {"lora_A": lambda m: weight(m.lora_A), "lora_B": lambda m: weight(m.lora_B)},
    ),
    "dora": (
        DoRAConfig(r=6, alpha=9.0, target_names=TARGETS),
        peft.LoraConfig(**LOW_RANK, use_dora=True),
        {
            "lora_A": lambda m: weight(m.lora_A),
            "lora_B": lambda m: weight(m.lora_B),
            "lora_m": lambda m: m.lora_magnitude_vector["default"].weight,
        },
    ),
    "pissa": (
        PiSSAConfig(r=6, target_names=TARGETS),
        peft.LoraConfig(r=6, lora_alpha=6, target_modules=TARGETS, init_lora_weights="pissa"),
        {"lora_A": lambda m: weight(m.lora_A), "lora_B": lambda m: weight(m.lora_B)},
    ),
    "delora": (
        DeLoRAConfig(r=6, lambda0=3.0, target_names=TARGETS),
        peft.DeloraConfig(r=6, delora_lambda=3.0, target_modules=TARGETS),
        {
            "lora_A": lambda m: m.delora_A["default"],
            "lora_B": lambda m: m.delora_B["default"],
            "lora_lambda": lambda m: m.delora_lambda["default"],
        },
    ),
    "hra": (
        HRAConfig(r=6, target_names=TARGETS),
        peft.HRAConfig(r=6, target_modules=TARGETS),
        {"lora_U": lambda m: m.hra_u["default"]},
    ),
    "ia3": (
        IA3Config(target_names=TARGETS),
        peft.IA3Config(target_modules=TARGETS, feedforward_modules=[]),
        {"lora_g": lambda m: m.ia3_l["default"]},
    ),
    "ia3_ff": (
        IA3FFConfig(target_names=TARGETS),
        peft.IA3Config(target_modules=TARGETS, feedforward_modules=TARGETS),
        {"lora_g": lambda m: m.ia3_l["default"]},
    ),
    **{
        f"road_{n}": (
            RoadConfig(road_variant=f"road_{n}", group_size=4, target_names=TARGETS),
            peft.RoadConfig(variant=f"road_{n}", group_size=4, target_modules=TARGETS),
            {
                "lora_road_theta": lambda m: m.road_theta["default"],
                "lora_road_alpha": lambda m: m.road_alpha["default"],
            },
        )
        for n in (1, 2, 4)
    },
}


def laid_out(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Ours in the shape of theirs: some of PEFT's matrices are stored transposed, some vectors as matrices."""
    return (
        ours.T.reshape(theirs.shape) if ours.dim() == 2 and ours.shape != theirs.shape else ours.reshape(theirs.shape)
    )


def agree(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= 1e-5 * theirs.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients_are_those_of_peft(name, shape):
    cfg, peft_cfg, parts = PAIRS[name]
    torch.manual_seed(0)
    base = Tiny(*shape)
    theirs = peft.get_peft_model(copy.deepcopy(base), peft_cfg)
    ours = base
    attach(ours, cfg)
    randomise(ours)
    modules = dict(theirs.base_model.model.named_modules())
    trained = antipasto.trainable_parameters(ours)
    with torch.no_grad():
        for key, parameter in trained.items():
            layer, _, part = key.rpartition(".")
            place = parts[part](modules[layer])
            place.copy_(laid_out(parameter, place))
    assert {p.numel() for p in trained.values()} == {p.numel() for p in theirs.parameters() if p.requires_grad}

    x = torch.randn(5, 3, shape[0])
    grad = torch.randn(5, 3, shape[2])
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    assert not agree(outputs[0], base_output(ours, x)), "the adapter must change something for this to be a test"
    for output in outputs:
        output.backward(grad)
    assert agree(outputs[0], outputs[1])
    assert agree(inputs[0].grad, inputs[1].grad)
    for key, parameter in trained.items():
        layer, _, part = key.rpartition(".")
        place = parts[part](modules[layer])
        assert agree(laid_out(parameter.grad, place), place.grad), key


def base_output(model, x):
    with torch.no_grad(), antipasto.disabled(model):
        return model(x)


def test_pissa_starts_where_pefts_does():
    """Without copying anything: the same factors up to paired signs, and the same residual."""
    torch.manual_seed(0)
    ours = Tiny(21, 28, 12)
    theirs = peft.get_peft_model(copy.deepcopy(ours), PAIRS["pissa"][1])
    antipasto.attach(ours, PAIRS["pissa"][0])
    layer = theirs.base_model.model.lin1
    assert agree(ours.lin1.weight, layer.base_layer.weight)
    assert agree(ours.lin1.lora_B @ ours.lin1.lora_A, weight(layer.lora_B) @ weight(layer.lora_A))


@pytest.mark.parametrize("basis", ["svd", "wanda", "asvd", "corda"])
def test_lora_xs_is_a_lora_in_peft(basis):
    """A = diag(S) P and B = U R, with alpha / r as the scale: R's gradient is U^T times that of B."""
    torch.manual_seed(0)
    ours = Tiny(21, 28, 12)
    theirs = peft.get_peft_model(copy.deepcopy(ours), peft.LoraConfig(**LOW_RANK))
    attach(ours, LoRAXSConfig(r=6, alpha=9.0, basis=basis, target_names=TARGETS))
    randomise(ours)
    x, grad = torch.randn(5, 21), torch.randn(5, 12)
    for name in TARGETS:
        mine, yours = getattr(ours, name), getattr(theirs.base_model.model, name)
        with torch.no_grad():
            weight(yours.lora_A).copy_(mine.lora_S[:, None] * mine.lora_Vh)
            weight(yours.lora_B).copy_(mine.lora_U @ mine.lora_R)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [ours(inputs[0]), theirs(inputs[1])]
    for output in outputs:
        output.backward(grad)
    assert agree(outputs[0], outputs[1])
    assert agree(inputs[0].grad, inputs[1].grad)
    for name in TARGETS:
        mine, yours = getattr(ours, name), getattr(theirs.base_model.model, name)
        assert agree(mine.lora_R.grad, mine.lora_U.T @ weight(yours.lora_B).grad)


def test_hra_reflects_in_pefts_order():
    """Two different reflections do not commute, so the order shows."""
    layer = nn.Sequential(nn.Linear(5, 3))
    attach(layer, HRAConfig(r=2, target_names=["0"]))
    randomise(layer, scale=1.0)
    u0, u1 = (u / u.norm() for u in layer[0].lora_U)
    H0, H1 = (torch.eye(5) - 2 * torch.outer(u, u) for u in (u0, u1))
    W = layer[0].weight.detach().clone()
    antipasto.merge(layer)
    assert torch.allclose(layer[0].weight, W @ H0 @ H1, atol=1e-6)
    assert not torch.allclose(layer[0].weight, W @ H1 @ H0, atol=1e-3)
