"""Claims about AntiPaSTO: it is the published form, its start is close to the base, signs do not matter, and the
data-driven basis counts tokens and nothing else."""

import pytest
import torch
from test_rotation import by_solve
from tiny_model import ALL, Tiny, attach, randomise
from torch import nn

import antipasto
from antipasto import AdapterError, AntiPaSTOConfig


def published_form(layer: nn.Linear, cfg: AntiPaSTOConfig, x: torch.Tensor) -> torch.Tensor:
    """x W_res^T + ((x (R_V Vh)^T) * (S + delta)) (U R_U^T)^T + b: the basis is turned, W is split."""
    U, S, Vh = layer.lora_U, layer.lora_S, layer.lora_Vh
    W_res = layer.weight - (U * S) @ Vh
    if cfg.rotate_basis in ("V", "both"):
        Vh = torch.block_diag(*by_solve(layer.lora_rot_T.double(), cfg.block_size, cfg.max_rotation_angle)) @ Vh
    if cfg.rotate_basis in ("U", "both"):
        theta = layer.lora_rot_T if cfg.rotate_basis == "U" else layer.lora_rot_T_u
        U = U @ torch.block_diag(*by_solve(theta.double(), cfg.block_size, cfg.max_rotation_angle)).T
    y = x @ W_res.T + ((x @ Vh.T) * (S + layer.lora_delta_s.double())) @ U.T
    return y if layer.bias is None else y + layer.bias


@pytest.mark.parametrize("rotate_basis", ["V", "U", "both", "none"])
@pytest.mark.parametrize("basis", ["svd", "wanda"])
@pytest.mark.parametrize("block_size", [2, 4, 8])
def test_output_is_the_published_form(tiny, rotate_basis, basis, block_size):
    tiny.double()
    cfg = AntiPaSTOConfig(r=16, rotate_basis=rotate_basis, basis=basis, block_size=block_size, target_names=ALL)
    attach(tiny, cfg)
    randomise(tiny, scale=1.0)
    x = torch.randn(7, 20, dtype=torch.float64)
    expected = published_form(tiny.lin1, cfg, x)
    assert (tiny.lin1(x) - expected).abs().max() / expected.abs().max() < 1e-10
    if rotate_basis != "none":
        assert (tiny.lin1(x) - x @ tiny.lin1.weight.T - tiny.lin1.bias).abs().max() > 1e-2


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


@pytest.mark.parametrize("rotate_basis", ["V", "U", "both", "none"])
def test_paired_sign_flips_change_nothing_at_the_start(tiny, rotate_basis):
    cfg = AntiPaSTOConfig(r=8, rotate_basis=rotate_basis, target_names=ALL)
    attach(tiny, cfg)
    x = torch.randn(5, 20)
    y = tiny(x)
    sign = torch.tensor([1.0, -1.0] * 4)
    tiny.lin1.lora_U *= sign
    tiny.lin1.lora_Vh *= sign[:, None]
    assert torch.allclose(tiny(x), y, atol=1e-7)


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
    kept = score.argsort(descending=True)[:4].sort().values
    assert not torch.equal(kept, torch.arange(4)), "this input should prefer other directions than the largest"
    assert torch.allclose(tiny.lin1.lora_S, S[kept])
    assert torch.allclose(tiny.lin1.lora_Vh.abs(), Vh[kept].abs(), atol=1e-5)


def test_calibration_counts_no_padding_and_restores_each_modules_mode(tiny):
    torch.manual_seed(4)
    texts = [torch.randn(n, 20) for n in (9, 5, 7)]
    tiny.train()
    tiny.lin2.eval()
    cfg = AntiPaSTOConfig(r=4, basis="wanda", target_names=["lin1"])
    found = []
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
        found.append(tiny.lin1.lora_Vh.clone())
        antipasto.detach(tiny)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert tiny.training
    assert not tiny.lin2.training


def test_nothing_frozen_but_h_is_kept_for_backward():
    """P is frozen, so autograd needs no input x of the layer: what it keeps grows with r, not with d_in."""
    layer = nn.Sequential(nn.Linear(512, 64, bias=False))
    antipasto.attach(layer, AntiPaSTOConfig(r=8, target_names=["0"]))
    kept = 0

    def pack(tensor):
        nonlocal kept
        if tensor.untyped_storage().data_ptr() not in frozen:
            kept += tensor.numel()
        return tensor

    frozen = {t.untyped_storage().data_ptr() for t in layer.state_dict().values()}
    x = torch.randn(100, 512)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    assert kept <= 3 * 100 * 8 + 500
