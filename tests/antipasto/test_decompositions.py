"""Claims about decompositions: a device that fails is not the end, and nothing that is not finite comes out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import ALL, Tiny, attach, configs, name_of, randomise

import antipasto
from antipasto import AdapterError
from antipasto.bases import thin_svd
from antipasto.decompositions import eigh, non_finite, orthonormal_columns, uncached_svd, unit
from antipasto.svd_cache import svd


@pytest.fixture
def fails_in_float32(monkeypatch, request):
    """Decompositions that fail as on a GPU, but for float64: by an error, or by NaN."""
    calls = []
    for name in ("svd", "eigh"):
        real = getattr(torch.linalg, name)

        def failing(A, *args, real=real, **kwargs):
            calls.append(A.dtype)
            if A.dtype == torch.float64 and len(calls) > request.param["first"]:
                return real(A, *args, **kwargs)
            if request.param["by"] == "NaN":
                return tuple(torch.full_like(part, torch.nan) for part in real(A, *args, **kwargs))
            raise request.param["by"]("cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED\nmore of it")

        monkeypatch.setattr(torch.linalg, name, failing)
    return calls


WAYS = [{"by": by, "first": 0} for by in (torch.linalg.LinAlgError, RuntimeError, "NaN")]


@pytest.mark.parametrize("fails_in_float32", WAYS, indirect=True, ids=str)
def test_a_failure_on_the_device_is_mended_on_the_cpu_in_float64(fails_in_float32):
    A = torch.randn(6, 9)
    with pytest.warns(UserWarning, match="SVD of a 6 x 9 matrix failed on cpu .*; computed on the CPU in float64"):
        U, S, Vh = uncached_svd(A)
    assert U.dtype == torch.float32
    assert torch.allclose((U * S) @ Vh, A, atol=1e-6)
    with pytest.warns(UserWarning, match="eigendecomposition of a 6 x 6 matrix failed on cpu"):
        values, vectors = eigh(A @ A.T)
    assert torch.allclose(values.flip(0), S.square(), rtol=1e-5)
    assert torch.allclose((vectors * values) @ vectors.T, A @ A.T, atol=1e-5)
    assert fails_in_float32 == [torch.float32, torch.float64] * 2


@pytest.mark.parametrize("fails_in_float32", [{"by": torch.linalg.LinAlgError, "first": 1}], indirect=True, ids=str)
def test_every_decomposition_of_the_library_is_tried_again(fails_in_float32):
    """The first call of each fails, whatever its dtype."""
    W = torch.randn(28, 20)
    for cfg in (
        antipasto.AntiPaSTOConfig(r=8, target_names=["lin1"]),
        antipasto.AntiPaSTOConfig(r=8, basis="wanda", target_names=["lin1"]),
        antipasto.AntiPaSTOConfig(r=8, basis="asvd", target_names=["lin1"]),
        antipasto.AntiPaSTOConfig(r=8, basis="corda", target_names=["lin1"]),  # lin1 is tall
        antipasto.AntiPaSTOConfig(r=8, basis="corda", target_names=["lin2"]),  # and lin2 wide
        antipasto.PiSSAConfig(r=8, target_names=["lin1"]),
        antipasto.EVAConfig(r=8, target_names=["lin1"]),
        antipasto.SSpaceConfig(r=8, target_names=["lin1"]),
    ):
        fails_in_float32.clear()
        with pytest.warns(UserWarning, match="computed on the CPU in float64"):
            attach(Tiny(), cfg)
    fails_in_float32.clear()
    small = W.double().clone()
    small[1:] *= 1e-9  # so that the Gram matrix does not do
    with pytest.warns(UserWarning, match="computed on the CPU"):
        thin_svd(small, 2)


@pytest.mark.parametrize("fails_in_float32", [{"by": torch.linalg.LinAlgError, "first": 9}], indirect=True, ids=str)
def test_what_fails_twice_is_one_clear_error(fails_in_float32):
    with (
        pytest.warns(UserWarning, match="SVD of a 3 x 4 matrix"),
        pytest.raises(AdapterError, match="SVD of a 3 x 4 matrix failed on cpu and on the CPU: cusolver"),
    ):
        svd(torch.randn(3, 4))


def test_a_matrix_with_nan_or_inf_has_no_decomposition():
    for number in (torch.nan, torch.inf, -torch.inf):
        A = torch.randn(4, 4)
        A[2, 2] = number
        for decompose in (svd, uncached_svd, eigh):
            with pytest.raises(AdapterError, match=r"of a 4 x 4 matrix: it holds NaN or inf"):
                decompose(A)


def test_non_finite_names_every_tensor_that_holds_nan_or_inf_and_no_other():
    huge = torch.full((64,), 3e38)  # its sum overflows
    cancelling = torch.tensor([torch.inf, -torch.inf])
    tensors = {
        "huge": huge, "a": torch.tensor([1.0, torch.nan]), "half": torch.tensor([65504.0]).half(), "b": cancelling,
        "empty": torch.empty(0), "whole": torch.tensor([1, 2]), "c": torch.tensor(-torch.inf).bfloat16(),
        "double": torch.tensor(1e300, dtype=torch.float64), "meta": torch.empty(3, device="meta"),
        "eight": torch.tensor([1.0, torch.nan]).to(torch.float8_e4m3fn), "fine": torch.ones(2).to(torch.float8_e5m2),
    }  # fmt: skip
    assert non_finite(tensors.items()) == ["a", "b", "c", "eight"]


@settings(max_examples=40)
@given(seed=st.integers(0, 999), r=st.integers(2, 12), k=st.integers(1, 5), double=st.booleans())
def test_independent_columns_become_those_of_a_qr_up_to_signs_with_its_gradient(seed, r, k, double):
    torch.manual_seed(seed)
    dtype, tolerance = (torch.float64, 1e-10) if double else (torch.float32, 2e-3)
    c = torch.randn(r, min(k, r), dtype=dtype, requires_grad=True)
    if torch.linalg.cond(c) > 1e3:
        return
    Q = orthonormal_columns(c)
    eye = torch.eye(Q.shape[1], dtype=dtype)
    assert (Q.T @ Q - eye).abs().max() < (1e-13 if double else 2e-6)
    reference = torch.linalg.qr(c).Q
    reference = reference * (reference * Q).sum(0).sign().detach()
    weight = torch.randn_like(Q)
    (ours,) = torch.autograd.grad((Q * weight).sum(), c)
    (qrs,) = torch.autograd.grad((reference * weight).sum(), c)
    assert (Q - reference).abs().max() < tolerance
    assert (ours - qrs).abs().max() < tolerance * max(1, float(qrs.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dependent_columns_become_zero_and_get_a_zero_gradient(dtype):
    torch.manual_seed(0)
    a, b = torch.randn(64, 1, dtype=dtype), torch.randn(64, 1, dtype=dtype)
    for columns, zeros in (
        ([a, a], [1]), ([a, b, a + 2 * b], [2]), ([0 * a, a, b], [0]), ([a, -3 * a, b], [1]), ([0 * a], [0]),
    ):  # fmt: skip
        c = torch.cat(columns, 1).requires_grad_()
        Q = orthonormal_columns(c)
        (grad,) = torch.autograd.grad((Q * torch.randn_like(Q)).sum(), c)
        assert grad.isfinite().all()
        expected = torch.ones(len(columns), dtype=dtype)
        expected[zeros] = 0
        assert torch.allclose(Q.T @ Q, expected.diag(), atol=1e-6)
        assert not grad[:, zeros].any()
        assert grad.abs().max() < 10


def test_a_vector_of_zeros_has_no_direction_and_no_gradient():
    v = torch.randn(3, 5)
    v[1] = 0
    v.requires_grad_()
    u = unit(v, dim=1)
    assert torch.equal(u, torch.nn.functional.normalize(v, dim=1))
    (grad,) = torch.autograd.grad((u * torch.randn(3, 5)).sum(), v)
    assert not grad[1].any()
    assert 0 < grad.abs().max() < 10


def degenerate(name: str, tensor: torch.Tensor) -> None:
    """What makes norms vanish and columns coincide."""
    if name in ("lora_c", "lora_U", "lora_A", "lora_B"):
        tensor[:, 1] = tensor[:, 0]
        tensor[1] = 0
        tensor[2] = tensor[0]
    else:
        tensor.zero_()


TRAINED = [cfg for cfg in configs() if cfg.trains]
TRAINED += [antipasto.AntiPaSTOAblateConfig(r=8, k=8, target_names=ALL)]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("cfg", TRAINED, ids=name_of)
def test_no_gradient_is_nan_where_norms_vanish_and_columns_are_equal(tiny, cfg, zero):
    with torch.no_grad():
        tiny.lin1.weight[3] = 0
        tiny.lin1.weight[:, 4] = 0
    attach(tiny, cfg)
    randomise(tiny)
    parameters = antipasto.trainable_parameters(tiny)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if zero:
                parameter.zero_()
            elif parameter.dim() == 2 and min(parameter.shape) > 2:
                degenerate(name.rpartition(".")[2], parameter)
    y = tiny(torch.randn(5, 20))
    y.square().sum().backward()
    assert y.isfinite().all()
    for name, parameter in parameters.items():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() < 1e7, name
