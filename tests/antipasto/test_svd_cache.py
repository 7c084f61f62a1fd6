"""Claims about the SVD cache: a hit is what was computed, nothing stale or damaged is ever returned, many writers can
share one, and it stays within its size limit."""

import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import antipasto
from antipasto import AdapterError
from antipasto.svd_cache import cache_entries, clear_cache, svd


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ANTIPASTO_CACHE", str(tmp_path / "svd"))
    return tmp_path / "svd"


@pytest.fixture
def computed(monkeypatch):
    """A list with one entry for each decomposition that was computed."""
    real, calls = torch.linalg.svd, []

    def counting(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.linalg, "svd", counting)
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_hit_is_what_was_computed_bit_for_bit(computed, dtype):
    W = torch.randn(12, 7).to(dtype)
    first, second = svd(W), svd(W.clone())
    assert len(computed) == 1
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first.U.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose((first.U * first.S) @ first.Vh, W.to(first.U.dtype), atol=1e-5)


def test_a_changed_bit_a_dtype_or_a_shape_is_another_entry(computed):
    W = torch.randn(6, 6)
    nudged = W.clone()
    nudged.view(torch.int32)[3, 3] ^= 1
    for other in (W, nudged, W.bfloat16(), W.bfloat16().float(), W.reshape(4, 9)):
        svd(other)
    assert len(computed) == len(cache_entries()) == 5
    svd(W.T)
    svd(W.T.contiguous())
    assert len(computed) == 6, "it is content that counts, not memory layout"


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "junk", "renamed", "swapped"])
def test_a_damaged_entry_is_computed_again_with_a_warning(computed, harm):
    W = torch.randn(20, 10)
    good = svd(W)
    (entry,) = cache_entries()
    data = bytearray(entry.read_bytes())
    if harm == "flip":
        data[-5] ^= 1
    elif harm == "cut":
        del data[-8:]
    elif harm == "empty":
        data.clear()
    elif harm == "junk":
        data = bytearray(os.urandom(2000))
    elif harm == "swapped":
        svd(torch.randn(20, 10))
        data = bytearray(next(e for e in cache_entries() if e != entry).read_bytes())
    else:
        data = bytearray(data.replace(b'"S":', b'"Z":', 1))
    entry.write_bytes(data)
    count = len(computed)
    with pytest.warns(UserWarning, match="damaged"):
        again = svd(W)
    assert len(computed) == count + 1
    assert all(torch.equal(a, b) for a, b in zip(good, again, strict=True))
    svd(W)
    assert len(computed) == count + 1, "the damaged entry was replaced"


def test_the_least_recently_used_entries_make_room(monkeypatch):
    old, other = torch.randn(40, 40), torch.randn(40, 40)
    for W in (old, other):
        svd(W)
        time.sleep(0.01)
    size = cache_entries()[0].stat().st_size
    svd(old)  # used again: now `other` is the older one
    newest = old
    monkeypatch.setenv("ANTIPASTO_CACHE_GB", str(2.5 * size / 1e9))
    time.sleep(0.01)
    svd(torch.randn(40, 40))
    assert len(cache_entries()) == 2
    before = {e.name for e in cache_entries()}
    svd(newest)
    assert {e.name for e in cache_entries()} == before, "what was used last is still there"
    monkeypatch.setenv("ANTIPASTO_CACHE_GB", "0")
    svd(torch.randn(30, 30))
    assert len(cache_entries()) == 2, "what cannot fit is not kept"
    assert clear_cache() == 2
    assert cache_entries() == []


def test_files_that_are_not_the_caches_own_are_left_alone(monkeypatch, cache):
    cache.mkdir()
    for name in ("model.safetensors", ".download.partial"):
        (cache / name).write_bytes(b"x" * 5000)
        os.utime(cache / name, (0, 0))
    monkeypatch.setenv("ANTIPASTO_CACHE_GB", "0.000005")
    svd(torch.randn(20, 20))
    svd(torch.randn(20, 20))
    assert clear_cache() == 1
    assert sorted(p.name for p in cache.iterdir()) == [".download.partial", "model.safetensors"]


def test_off_keeps_nothing_and_a_bad_bound_is_one_clear_error(monkeypatch, cache):
    monkeypatch.setenv("ANTIPASTO_CACHE_GB", "lots")
    with pytest.raises(AdapterError, match="ANTIPASTO_CACHE_GB='lots'"):
        svd(torch.randn(5, 5))
    monkeypatch.setenv("ANTIPASTO_CACHE", "off")
    svd(torch.randn(5, 5))
    assert not list(cache.rglob("*.safetensors"))


def test_a_cache_that_cannot_be_written_costs_a_warning_and_not_the_run(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ANTIPASTO_CACHE", str(tmp_path / "file" / "svd"))
    with pytest.warns(UserWarning, match="could not be kept"):
        assert svd(torch.randn(5, 5)).S.shape == (5,)


def test_an_adapter_is_the_same_with_a_cold_and_a_warm_cache(tiny, computed):
    states = []
    for _ in range(2):
        antipasto.attach(
            tiny, antipasto.AntiPaSTOConfig(r=8, target_names=["lin.*"]), generator=torch.Generator().manual_seed(0)
        )
        states.append({k: v.clone() for k, v in tiny.state_dict().items()})
        antipasto.detach(tiny)
    assert len(computed) == 2
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


LIMIT = 36_000  # bytes: about six of the twelve matrices below


def test_writers_and_readers_share_a_cache_while_it_is_full_and_one_left_a_partial_file(monkeypatch, cache):
    """Four threads, the same twelve matrices, a limit that holds half of them; the long test has processes."""
    monkeypatch.setenv("ANTIPASTO_CACHE_GB", str(LIMIT / 1e9))
    cache.mkdir()
    leftover = cache / f".{'0' * 64}.1.1.partial"
    leftover.write_bytes(b"cut sho")
    matrices = [torch.randn(32, 24, generator=torch.Generator().manual_seed(seed)) for seed in range(12)]

    def factors_are_right(turn: int) -> bool:
        factors = [(W, svd(W)) for W in matrices[turn % 3 :]]
        return all(torch.allclose((U * S) @ Vh, W, atol=1e-4) for W, (U, S, Vh) in factors)

    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("error")
        assert list(pool.map(factors_are_right, range(24))) == [True] * 24
    sizes = [entry.stat().st_size for entry in cache_entries()]
    assert 1 <= len(sizes) < 12
    assert sum(sizes) <= LIMIT
    assert leftover.exists(), "its writer might be alive still"
    os.utime(leftover, (0, 0))
    svd(torch.randn(8, 8))
    assert not leftover.exists(), "after an hour it is not"


@pytest.mark.long
def test_processes_share_a_cache_while_it_is_full_and_one_is_killed(cache):
    """Six writers and readers of the same matrices under a limit that holds half of them; one dies in the middle."""
    code = """
import torch, warnings
warnings.simplefilter("error")
torch.set_num_threads(1)
from antipasto.svd_cache import svd
svd(torch.eye(3))
print("at work", flush=True)
for turn in range(10):
    for seed in range(12):
        W = torch.randn(32, 24, generator=torch.Generator().manual_seed(seed))
        U, S, Vh = svd(W)
        assert torch.allclose((U * S) @ Vh, W, atol=1e-4)
"""
    env = os.environ | {"ANTIPASTO_CACHE_GB": str(LIMIT / 1e9)}
    workers = [subprocess.Popen([sys.executable, "-c", code], env=env, stdout=-1, stderr=-1) for _ in range(6)]
    victim = workers.pop()
    assert victim.stdout.readline() == b"at work\n"
    victim.kill()
    victim.communicate()
    for worker in workers:
        _, stderr = worker.communicate(timeout=200)
        assert worker.returncode == 0, stderr.decode()
    sizes = [entry.stat().st_size for entry in cache_entries()]
    assert 1 <= len(sizes) < 12
    assert sum(sizes) <= LIMIT
