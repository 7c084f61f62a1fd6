"""Claims about the frozen-basis family: every core on every basis is its published form, and signs do not matter where
they should not."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rotation import by_solve
from tiny_model import ALL, Tiny, attach, configs, name_of, randomise
from torch import nn

import antipasto
from antipasto import (
    AdapterError,
    AntiPaSTOAblateConfig,
    AntiPaSTOConfig,
    AntiPaSTOGainConfig,
    FrozenBasisConfig,
)


def elu(t):
    return torch.where(t > 0, t, t.exp() - 1)


def core_matrix(layer: nn.Linear, cfg: FrozenBasisConfig) -> torch.Tensor:
    """The published core as an (r, r) matrix K, core(h) = K h, written out in float64, term by term."""
    S = layer.lora_S.diag()
    p = {name: value.detach().double() for name, value in layer.named_parameters() if name.startswith("lora_")}
    match cfg.variant:
        case "antipasto":

            def rotation(theta):
                return torch.block_diag(*by_solve(theta, cfg.block_size, cfg.max_rotation_angle))

            K = S + p["lora_delta_s"].diag()
            if cfg.rotate_basis in ("V", "both"):
                K = K @ rotation(p["lora_rot_T"])
            if cfg.rotate_basis in ("U", "both"):
                K = rotation(p["lora_rot_T" if cfg.rotate_basis == "U" else "lora_rot_T_u"]).T @ K
            return K
        case "antipasto_gain" | "antipasto_asvd" | "antipasto_corda":
            g = p["lora_g"].clamp(max=0) if cfg.suppress_only else p["lora_g"]
            return S @ (1 + elu(cfg.coeff * g)).diag()
        case "antipasto_ablate":
            C = torch.linalg.qr(p["lora_c"]).Q
            return (torch.eye(len(S)) - cfg.coeff * C @ p["lora_alpha"].clamp(0, 1).diag() @ C.T) @ S
        case "antipasto_arrow":
            head = torch.eye(cfg.block) + cfg.coeff * p["lora_M"]
            return torch.block_diag(head, (1 + elu(cfg.coeff * p["lora_g"])).diag()) @ S
        case "antipasto_dplr":
            return S @ (1 + elu(cfg.coeff * p["lora_g"])).diag() + cfg.coeff * p["lora_B"] @ p["lora_A"]
        case "lora_xs":
            return S + (1 if cfg.alpha is None else cfg.alpha / cfg.r) * p["lora_R"] @ S
        case "delta_s":
            return S + (p["lora_delta_s"] + p["lora_delta_s_hack"]).diag()
    # A core that was published nowhere: its own matrix, so that at least it is linear and inside its basis.
    return S + antipasto.REGISTRY[cfg.variant].change(layer, cfg, torch.eye(len(S), dtype=S.dtype)).T


def published_form(layer: nn.Linear, cfg: FrozenBasisConfig, x: torch.Tensor) -> torch.Tensor:
    """x W_res^T + core(h) U^T + b with W_res = W - U diag(S) P: the form that splits W."""
    U, S, P = layer.lora_U, layer.lora_S, layer.lora_Vh
    W_res = layer.weight - (U * S) @ P
    y = x @ W_res.T + (x @ P.T) @ core_matrix(layer, cfg).T @ U.T
    return y if layer.bias is None else y + layer.bias


FAMILY = [cfg for cfg in configs(r=16) if isinstance(cfg, FrozenBasisConfig)]


@pytest.mark.parametrize("basis", antipasto.bases.BASES)
@pytest.mark.parametrize("cfg", FAMILY, ids=name_of)
def test_output_is_the_published_form_at_random_parameters(tiny, cfg, basis):
    tiny.double()
    with torch.no_grad():
        tiny.lin1.weight *= 3
    cfg = dataclasses.replace(cfg, basis=basis, **({"cov_orient": False} if hasattr(cfg, "cov_orient") else {}))
    attach(tiny, cfg)
    randomise(tiny, scale=1.0)
    x = torch.randn(7, 20, dtype=torch.float64)
    base = x @ tiny.lin1.weight.T + tiny.lin1.bias
    for coeff in (0.0, 0.5, 1.0) if hasattr(cfg, "coeff") else (None,):
        if coeff is not None:
            antipasto.set_coeff(tiny, coeff)
        expected = published_form(tiny.lin1, antipasto.attachment(tiny).cfg, x)
        assert (tiny.lin1(x) - expected).abs().max() / expected.abs().max() < 1e-10
        if coeff == 0.0:
            assert torch.equal(tiny.lin1(x), torch.nn.functional.linear(x, tiny.lin1.weight, tiny.lin1.bias))
        else:
            assert (tiny.lin1(x) - base).abs().max() > 1e-2


@pytest.mark.parametrize("block_size", [2, 4, 8])
@pytest.mark.parametrize("rotate_basis", ["V", "U", "both"])
def test_every_block_size_is_the_published_form(tiny, block_size, rotate_basis):
    tiny.double()
    cfg = AntiPaSTOConfig(r=16, rotate_basis=rotate_basis, block_size=block_size, target_names=ALL)
    attach(tiny, cfg)
    randomise(tiny, scale=1.0)
    x = torch.randn(7, 20, dtype=torch.float64)
    expected = published_form(tiny.lin1, cfg, x)
    assert (tiny.lin1(x) - expected).abs().max() / expected.abs().max() < 1e-10


@settings(max_examples=40)
@given(seed=st.integers(0, 999), r=st.integers(2, 8), k=st.integers(1, 4), coeff=st.floats(0, 1))
def test_ablate_can_only_take_away(seed, r, k, coeff):
    """The part of the core that acts on z = S h is symmetric, with eigenvalues in [0, 1]."""
    torch.manual_seed(seed)
    layer = nn.Sequential(nn.Linear(8, 8)).double()
    cfg = AntiPaSTOAblateConfig(r=r, k=min(k, r), coeff=coeff, target_names=["0"])
    attach(layer, cfg, seed)
    randomise(layer, scale=2.0, seed=seed)
    eye = torch.eye(r, dtype=torch.float64)
    change = antipasto.REGISTRY["antipasto_ablate"].change(layer[0], cfg, eye).T
    on_z = eye + change / layer[0].lora_S
    assert torch.allclose(on_z, on_z.T, atol=1e-9)
    values = torch.linalg.eigvalsh(on_z)
    assert values.min() > -1e-9
    assert values.max() < 1 + 1e-9


@pytest.mark.parametrize("cfg", FAMILY, ids=name_of)
def test_paired_sign_flips_change_no_start_no_score_and_no_gain(tiny, cfg):
    """Signs of singular vectors are LAPACK's whim: what starts near the base, or is diagonal, never sees them."""
    tiny.double()
    attach(tiny, cfg)
    diagonal = cfg.variant in ("antipasto_gain", "antipasto_asvd", "antipasto_corda", "delta_s") or (
        cfg.variant == "antipasto" and cfg.rotate_basis == "none"
    )
    if diagonal:
        randomise(tiny, scale=1.0)
    elif cfg.variant in ("antipasto_ablate", "lora_xs"):  # their random start is drawn for the basis as it is
        for parameter in antipasto.trainable_parameters(tiny).values():
            parameter.data.zero_()
    x = torch.randn(5, 20, dtype=torch.float64)
    y = tiny(x)
    for layer in (tiny.lin1, tiny.lin2):
        sign = torch.where(torch.arange(len(layer.lora_S)) % 2 == 0, 1.0, -1.0)
        layer.lora_U *= sign
        layer.lora_Vh *= sign[:, None]
    assert torch.allclose(tiny(x), y, atol=1e-12)


def test_coeff_is_a_knob_on_a_trained_adapter(tiny):
    x = torch.randn(5, 20)
    base = tiny(x)
    attach(tiny, AntiPaSTOGainConfig(r=8, target_names=ALL))
    randomise(tiny)
    full = tiny(x)
    antipasto.set_coeff(tiny, 0.0)
    assert torch.equal(tiny(x), base)
    antipasto.set_coeff(tiny, 1.0)
    assert torch.equal(tiny(x), full)
    antipasto.merge(tiny)
    with pytest.raises(AdapterError, match="merged"):
        antipasto.set_coeff(tiny, 0.5)


def test_suppress_only_never_amplifies(tiny):
    attach(tiny, AntiPaSTOGainConfig(r=8, suppress_only=True, target_names=ALL))
    randomise(tiny, scale=2.0)
    h = torch.randn(50, 8)
    change = antipasto.REGISTRY["antipasto_gain"].change(tiny.lin1, antipasto.attachment(tiny).cfg, h)
    assert ((h * tiny.lin1.lora_S + change).abs() <= (h * tiny.lin1.lora_S).abs() + 1e-6).all()


def test_start_is_exact_without_delta_and_close_with_it(tiny):
    x = torch.randn(5, 20)
    y = tiny(x)
    attach(tiny, AntiPaSTOConfig(r=16, rotate_basis="both", target_names=ALL))
    delta = tiny.lin1.lora_delta_s
    assert 2e-4 < delta.mean() < 6e-4
    assert 2e-4 < delta.std() < 8e-4
    assert 0 < (tiny(x) - y).abs().max() < 1e-2
    for layer in (tiny.lin1, tiny.lin2):
        layer.lora_delta_s.data.zero_()
    assert torch.equal(tiny(x), y)


@pytest.mark.parametrize("rotate_basis", ["none", "V"])
def test_bfloat16_keeps_a_change_far_below_the_singular_values(rotate_basis):
    """delta = 4e-4 S would vanish in (S + delta) rounded to bfloat16; as a difference it survives."""
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(32, 32, bias=False))
    cfg = AntiPaSTOConfig(r=32, rotate_basis=rotate_basis, target_names=["0"])
    attach(layer.bfloat16(), cfg)
    layer[0].lora_delta_s.data.copy_(4e-4 * layer[0].lora_S)
    h = torch.randn(64, 32).bfloat16()
    change = antipasto.REGISTRY["antipasto"].change(layer[0], cfg, h).float()
    expected = h.float() * layer[0].lora_delta_s
    assert ((change - expected).norm() / expected.norm()) < 0.01


def test_a_trained_rotation_survives_a_lapack_with_other_signs(tiny, tmp_path, monkeypatch):
    x = torch.randn(5, 20)
    attach(tiny, AntiPaSTOConfig(r=8, rotate_basis="both", target_names=ALL))
    randomise(tiny, scale=1.0)
    y = tiny(x)
    path = antipasto.save(tiny, tmp_path / "a.safetensors")
    antipasto.detach(tiny)
    svd = torch.linalg.svd

    def other_signs(W, full_matrices):
        U, S, Vh = svd(W, full_matrices=full_matrices)
        sign = torch.where(torch.arange(len(S)) % 3 == 0, -1.0, 1.0)
        return U * sign, S, Vh * sign[:, None]

    monkeypatch.setattr(torch.linalg, "svd", other_signs)
    antipasto.load(tiny, path)
    assert torch.allclose(tiny(x), y, atol=1e-6)


@pytest.mark.parametrize("weight", [torch.eye(20), torch.zeros(20, 20), torch.diag(torch.arange(20.0) % 5)])
def test_directions_that_an_svd_is_free_to_choose_are_saved_whole(weight, tmp_path, monkeypatch):
    model, x = nn.Sequential(nn.Linear(20, 20)), torch.randn(5, 20)
    model[0].weight.data.copy_(weight)
    attach(model, antipasto.DeltaSConfig(target_names=["0"]))
    randomise(model)
    y = model(x)
    path = antipasto.save(model, tmp_path / "a.safetensors")
    antipasto.detach(model)
    turn = torch.linalg.qr(torch.randn(20, 20)).Q
    svd = torch.linalg.svd
    monkeypatch.setattr(torch.linalg, "svd", lambda W, full_matrices: svd(W @ turn, full_matrices=full_matrices))
    antipasto.load(model, path)
    assert torch.equal(model(x), y)


def test_loading_onto_another_base_is_refused(tiny, tmp_path):
    attach(tiny, AntiPaSTOConfig(r=8, target_names=ALL))
    path = antipasto.save(tiny, tmp_path / "a.safetensors")
    torch.manual_seed(1)
    other = Tiny()
    with pytest.raises(AdapterError, match="not those that were trained"):
        antipasto.load(other, path)
    assert not any("lora_" in name for name in other.state_dict())


def test_nothing_frozen_but_h_is_kept_for_backward():
    """P is frozen, so autograd needs no input x of the layer: what it keeps grows with r, not with d_in."""
    layer = nn.Sequential(nn.Linear(512, 64, bias=False))
    antipasto.attach(layer, AntiPaSTOConfig(r=8, target_names=["0"]))
    saved_numbers = 0

    def pack(tensor):
        nonlocal saved_numbers
        if tensor.untyped_storage().data_ptr() not in frozen:
            saved_numbers += tensor.numel()
        return tensor

    frozen = {t.untyped_storage().data_ptr() for t in layer.state_dict().values()}
    x = torch.randn(100, 512)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    assert saved_numbers <= 3 * 100 * 8 + 500


def test_dplr_scales_b_in_the_dtype_it_computes_in(tiny):
    """As the published code does: cast, then times coeff. In bfloat16 the other order rounds to other numbers."""
    cfg = antipasto.AntiPaSTODPLRConfig(r=8, lora_rank=2, coeff=0.3, target_names=ALL)
    attach(tiny.bfloat16(), cfg)
    with torch.no_grad():
        tiny.lin1.lora_B.normal_()
    h = torch.randn(5, 8).bfloat16()
    read = h @ tiny.lin1.lora_A.bfloat16().T
    scaled_after, scaled_before = cfg.coeff * tiny.lin1.lora_B.bfloat16(), (cfg.coeff * tiny.lin1.lora_B).bfloat16()
    assert (scaled_after != scaled_before).any()
    change = antipasto.REGISTRY["antipasto_dplr"].change(tiny.lin1, cfg, h)
    assert torch.equal(change, torch.nn.functional.linear(read, scaled_after))
    assert not torch.equal(change, torch.nn.functional.linear(read, scaled_before))
