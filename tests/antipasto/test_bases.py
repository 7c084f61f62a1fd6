"""Claims about the bases: each chooses the directions that it says, from the tokens that are no padding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import ALL, attach, configs, name_of
from torch import nn

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig, AntiPaSTOGainConfig, LoRAXSConfig
from antipasto.bases import BASES, thin_svd, wanda_score
from antipasto.moments import Covariance, DirectionPower
from antipasto.svd_cache import SVDFactors


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


@settings(max_examples=20)
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


def test_wanda_scores_do_not_see_signs(tiny):
    x = torch.randn(64, 20)
    U, S, Vh = torch.linalg.svd(tiny.lin1.weight, full_matrices=False)
    for pool in ("rms", "mean_abs"):
        one, other = DirectionPower(SVDFactors(U, S, Vh), pool), DirectionPower(SVDFactors(-U, S, -Vh), pool)
        one.update(x)
        other.update(x)
        assert torch.equal(one.pooled(), other.pooled())


@pytest.mark.parametrize("cfg", [cfg for cfg in configs() if cfg.needs_data()],
                         ids=name_of)  # fmt: skip
def test_calibration_sees_the_activations_of_the_whole_base_model(tiny, cfg):
    seen, expected = [], []
    for inputs in (expected, seen):
        handle = tiny.lin2.register_forward_pre_hook(lambda layer, args, inputs=inputs: inputs.append(args[0]))
        if inputs is expected:
            generator = torch.Generator().manual_seed(0)
            for _ in range(3 if antipasto.REGISTRY[cfg.variant].contrastive else 2):  # as tiny_model.attach draws them
                tiny(torch.randn(4, 16, 20, generator=generator))
        else:
            attach(tiny, cfg)
        handle.remove()
    assert len(seen) == len(expected) >= 2
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


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


def sine(rows: torch.Tensor, others: torch.Tensor) -> float:
    """Of the largest principal angle between the spans of two sets of rows."""
    A, B = (torch.linalg.qr(part.detach().double().T).Q for part in (rows, others))
    return torch.linalg.matrix_norm(A - B @ (B.T @ A), 2).item()


def test_one_direction_a_thousand_times_the_rest_does_not_hide_the_others():
    """The directions of EVA and CorDA against those in float64; moments in float32 put them off by 0.4 to 1."""
    torch.manual_seed(0)
    d, r = 48, 8
    mean = 1000 * d**0.5 * torch.nn.functional.normalize(torch.randn(d), dim=0)
    x = mean + torch.randn(4096 + 100, d) * torch.linspace(2, 0.5, d)
    exact = x.double()
    C = exact.T @ exact / len(x)
    values, vectors = torch.linalg.eigh(C)
    layer = nn.Sequential(nn.Linear(d, d, bias=False))
    antipasto.attach(layer, antipasto.EVAConfig(r=r, target_names=["0"]), [x[:3000], x[3000:]])
    assert sine(layer[0].lora_A, vectors[:, -r:].T) < 1e-6
    for d_out in (32, 64):  # from second moments of the outputs, and from those of the inputs
        layer = nn.Sequential(nn.Linear(d, d_out, bias=False))
        root = vectors @ (values.clamp(min=0) + 1e-3).sqrt().diag() @ vectors.T
        U, _, Q = torch.linalg.svd(layer[0].weight.detach().double() @ root, full_matrices=False)
        antipasto.attach(layer, LoRAXSConfig(r=r, basis="corda", target_names=["0"]), [x])
        assert sine(layer[0].lora_U.T, U[:, :r].T) < 1e-6
        assert sine(layer[0].lora_Vh, Q[:r] @ torch.linalg.inv(root)) < 1e-6


def test_a_calibration_batch_is_copied_to_float64_in_parts():
    sizes, real = [], torch.Tensor.double

    class Counted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
                sizes.append(out.numel())
            return out

    covariance, x = Covariance(torch.empty(3, 8)), torch.randn(10_000, 8)
    with Counted():
        covariance.update(x)
    assert max(sizes) == 4096 * 8
    assert torch.allclose(covariance.mean(), real(x).T @ real(x) / 10_000, rtol=1e-12)


def test_svd_basis_is_the_top_of_the_svd(tiny):
    attach(tiny, AntiPaSTOConfig(r=8, target_names=ALL))
    S = torch.linalg.svdvals(tiny.lin1.weight)
    assert torch.allclose(tiny.lin1.lora_S, S[:8], atol=1e-5)
    residual = tiny.lin1.weight - (tiny.lin1.lora_U * tiny.lin1.lora_S) @ tiny.lin1.lora_Vh
    assert torch.allclose(torch.linalg.svdvals(residual)[:12], S[8:], atol=1e-5)


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
