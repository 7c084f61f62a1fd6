"""Claims about the frozen-basis family: every core on every basis is its published form, bases are what they say, signs
do not matter where they should not, and calibration counts tokens and nothing else."""

import dataclasses
import math

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
    LoRAXSConfig,
)
from antipasto.bases import BASES, thin_svd, wanda_score
from antipasto.moments import DirectionPower
from antipasto.svd_cache import SVDFactors


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


def second_moment(C: torch.Tensor, count: int = 64) -> torch.Tensor:
    """Inputs whose E[x x^T] is C to rounding: orthonormal columns times its root."""
    Q = torch.linalg.qr(torch.randn(count, len(C), dtype=torch.float64)).Q
    return count**0.5 * Q @ torch.linalg.cholesky(C).T


def test_asvd_is_corda_where_the_covariance_is_diagonal(tiny):
    tiny.double()
    torch.manual_seed(1)
    x = second_moment(torch.linspace(0.1, 4, 20, dtype=torch.float64).diag())
    bases = {}
    for basis in ("asvd", "corda"):
        antipasto.attach(tiny, LoRAXSConfig(r=6, basis=basis, target_names=["lin1"]), [x])
        bases[basis] = (tiny.lin1.lora_U * tiny.lin1.lora_S) @ tiny.lin1.lora_Vh, tiny.lin1.lora_S.clone()
        antipasto.detach(tiny)
    assert torch.allclose(bases["asvd"][0], bases["corda"][0], atol=1e-10)
    assert torch.allclose(bases["asvd"][1], bases["corda"][1], atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), r=st.integers(1, 8))
def test_corda_is_the_best_of_its_rank_under_its_covariance(seed, r):
    """E|W x - U diag(S) P x|^2 for x ~ N(0, C), exactly: the squared norm of (W - U diag(S) P) C^1/2."""
    torch.manual_seed(seed)
    layer = nn.Sequential(nn.Linear(12, 10, bias=False)).double()
    root = torch.randn(12, 12, dtype=torch.float64) * torch.logspace(-1, 1, 12, dtype=torch.float64)
    C = root @ root.T / 12 + 0.01 * torch.eye(12, dtype=torch.float64)
    x = second_moment(C)
    missed = {}
    for basis in ("svd", "wanda", "asvd", "corda"):
        antipasto.attach(layer, LoRAXSConfig(r=r, basis=basis, cov_eps=1e-9, target_names=["0"]), [x])
        frozen = (layer[0].lora_U * layer[0].lora_S) @ layer[0].lora_Vh
        missed[basis] = ((layer[0].weight - frozen) @ torch.linalg.cholesky(C)).square().sum().item()
        antipasto.detach(layer)
    assert missed["corda"] <= min(missed.values()) * (1 + 1e-6)
    whitened = torch.linalg.svdvals(layer[0].weight.detach() @ torch.linalg.cholesky(C))
    assert missed["corda"] == pytest.approx(whitened[r:].square().sum().item(), rel=1e-5, abs=1e-7)


def test_wanda_score_is_the_papers_where_every_direction_is_a_channel():
    """With P the identity a direction reads one channel, and S |x . v| is |W_ij| times the norm of channel j."""
    W, x = torch.tensor([3.0, -1.0, 0.5, 2.0]).diag(), torch.randn(50, 4) * torch.tensor([0.1, 5.0, 3.0, 1.0])
    paper = W.diag().abs() * x.norm(dim=0)
    moments = DirectionPower(SVDFactors(torch.eye(4), W.diag().abs(), torch.eye(4)), "rms")
    moments.update(x[:20])
    moments.update(x[20:])
    ours = wanda_score(W.diag().abs(), moments.pooled())
    assert torch.allclose(ours.float() * 50**0.5, paper, rtol=1e-5)


def test_wanda_selects_what_is_adapted_and_prunes_nothing(tiny):
    """The directions that it leaves out still do their work: the output at the start is the base model's."""
    x = torch.randn(5, 20)
    y = tiny(x)
    attach(tiny, AntiPaSTOGainConfig(r=2, basis="wanda", target_names=ALL))
    assert torch.equal(tiny(x), y)


@settings(deadline=None, max_examples=40)
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


def test_wanda_scores_do_not_see_signs(tiny):
    x = torch.randn(64, 20)
    U, S, Vh = torch.linalg.svd(tiny.lin1.weight, full_matrices=False)
    for pool in ("rms", "mean_abs"):
        one, other = DirectionPower(SVDFactors(U, S, Vh), pool), DirectionPower(SVDFactors(-U, S, -Vh), pool)
        one.update(x)
        other.update(x)
        assert torch.equal(one.pooled(), other.pooled())


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


@pytest.mark.parametrize("basis", ["wanda", "asvd", "corda"])
def test_choosing_again_starts_the_training_anew_and_is_refused_once_trained(tiny, basis):
    torch.manual_seed(5)
    one, other = ([torch.randn(64, 20) * torch.rand(20) * 3] for _ in range(2))
    antipasto.attach(tiny, AntiPaSTOConfig(r=4, basis=basis, target_names=["lin1"]), one)
    P, delta = tiny.lin1.lora_Vh.clone(), tiny.lin1.lora_delta_s.clone()
    antipasto.recalibrate(tiny, other)
    assert not torch.equal(tiny.lin1.lora_Vh, P)
    assert not torch.equal(tiny.lin1.lora_delta_s, delta)
    P = tiny.lin1.lora_Vh.clone()
    with pytest.raises(AdapterError, match="calibration tokens"):
        antipasto.recalibrate(tiny, [torch.randn(2, 20)])
    assert torch.equal(tiny.lin1.lora_Vh, P), "a choice that fails leaves the adapter as it was"
    with torch.no_grad():
        tiny.lin1.lora_rot_T[0, 0] += 1e-3
    with pytest.raises(AdapterError, match="lora_rot_T was trained"):
        antipasto.recalibrate(tiny, one)
    assert torch.equal(tiny.lin1.lora_Vh, P)


def test_svd_basis_is_the_top_of_the_svd(tiny):
    attach(tiny, AntiPaSTOConfig(r=8, target_names=ALL))
    S = torch.linalg.svdvals(tiny.lin1.weight)
    assert torch.allclose(tiny.lin1.lora_S, S[:8], atol=1e-5)
    residual = tiny.lin1.weight - (tiny.lin1.lora_U * tiny.lin1.lora_S) @ tiny.lin1.lora_Vh
    assert torch.allclose(torch.linalg.svdvals(residual)[:12], S[8:], atol=1e-5)


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


@pytest.mark.parametrize("pool", ["rms", "mean_abs"])
def test_wanda_keeps_the_directions_of_largest_weight_times_activation(tiny, pool):
    torch.manual_seed(3)
    x = torch.randn(64, 20) * torch.linspace(0.01, 5, 20)
    cfg = AntiPaSTOConfig(r=4, basis="wanda", act_pool=pool, target_names=["lin1"])
    antipasto.attach(tiny, cfg, [x[:40], (x[40:],)])
    _, S, Vh = torch.linalg.svd(tiny.lin1.weight, full_matrices=False)
    h = x @ Vh.T
    score = S * (h.square().mean(0).sqrt() if pool == "rms" else h.abs().mean(0))
    chosen = score.argsort(descending=True)[:4].sort().values
    assert not torch.equal(chosen, torch.arange(4)), "this input should prefer other directions than the largest"
    assert torch.allclose(tiny.lin1.lora_S, S[chosen])
    assert torch.allclose(tiny.lin1.lora_Vh.abs(), Vh[chosen].abs(), atol=1e-5)


@pytest.mark.parametrize(
    "cfg",
    [
        *(AntiPaSTOConfig(r=4, basis=basis, target_names=["lin1"]) for basis in ("wanda", "asvd", "corda")),
        antipasto.EVAConfig(r=4, target_names=["lin1"]),
    ],
    ids=name_of,
)
def test_calibration_counts_no_padding_and_restores_each_modules_mode(tiny, cfg):
    torch.manual_seed(4)
    texts = [torch.randn(n, 20) for n in (9, 5, 7)]
    tiny.train()
    tiny.lin2.eval()
    states = []
    for side in ("none", "left", "right"):
        if side == "none":
            data = [text[None] for text in texts]
        else:
            x, mask = torch.full((3, 9, 20), 100.0), torch.zeros(3, 9, dtype=torch.long)
            for row, text in enumerate(texts):
                place = slice(9 - len(text), None) if side == "left" else slice(len(text))
                x[row, place], mask[row, place] = text, 1
            data = [{"x": x, "attention_mask": mask}]
        antipasto.attach(tiny, cfg, data)
        states.append(tiny.lin1.lora_A.detach().clone() if cfg.variant == "eva" else tiny.lin1.lora_Vh.clone())
        antipasto.detach(tiny)
    for other in states[1:]:
        sign = (states[0] * other).sum(1, keepdim=True).sign()
        assert torch.allclose(states[0], sign * other, atol=2e-5 * states[0].abs().max())
    assert tiny.training
    assert not tiny.lin2.training


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


@pytest.mark.parametrize("shape", [(40, 90), (90, 40)])
@pytest.mark.parametrize("smallest", [1e-1, 1e-4, 1e-7])
def test_directions_from_the_smaller_gram_matrix_are_those_of_the_full_svd(shape, smallest):
    """Down to where float32 could tell them apart; below that, the full SVD is what is taken."""
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(*shape, generator=generator, dtype=torch.float64)
    U, _, Vh = torch.linalg.svd(A, full_matrices=False)
    A = U * torch.logspace(0, math.log10(smallest), 40, dtype=torch.float64) @ Vh
    full, thin = torch.linalg.svd(A, full_matrices=False), thin_svd(A, 30)
    assert torch.dist(thin[1], full[1][:30]) < 1e-7 * smallest ** (29 / 39)
    for ours, theirs in ((thin[0], full[0][:, :30]), (thin[2].T, full[2][:30].T)):
        assert torch.linalg.svdvals(ours.T @ theirs).min() > 1 - 1e-9, "the same subspace"
        assert (ours.T @ ours - torch.eye(30)).abs().max() < 1e-6
    best = full[1][30:].norm()
    assert torch.linalg.norm(A - thin[0] * thin[1] @ thin[2]) <= (1 + 1e-6) * best


def test_corda_from_second_moments_of_outputs_is_corda_from_those_of_inputs():
    """The same basis whether W is wide or tall: from W C W^T in the first case, from C in the second."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((12, 20), (20, 12)):
        W = torch.randn(*shape, generator=generator)
        x = torch.randn(500, shape[1], generator=generator) * torch.logspace(0, -2, shape[1])
        cfg = antipasto.AntiPaSTOConfig(r=8, basis="corda")
        gathered = BASES["corda"].calibrator(cfg)(W)
        gathered.update(x[:200])
        gathered.update(x[200:])
        U, S, P = BASES["corda"].choose(W, 8, cfg, gathered)
        values, vectors = torch.linalg.eigh((x.double().T @ x.double()) / len(x))
        root = (values.clamp(min=0) + cfg.cov_eps).sqrt()
        expected = torch.linalg.svd(W.double() @ (vectors * root) @ vectors.T, full_matrices=False)
        torch.testing.assert_close(S.double(), expected[1][:8], rtol=1e-4, atol=1e-6)
        plain = expected[0][:, :8] * expected[1][:8] @ (expected[2][:8] @ (vectors / root) @ vectors.T)
        torch.testing.assert_close((U * S @ P).double(), plain, rtol=1e-3, atol=1e-4)
        assert (U.T @ U - torch.eye(8)).abs().max() < 1e-5
