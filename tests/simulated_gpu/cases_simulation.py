"""Claims about the simulated GPU itself: where a real one differs from the CPU, it does too."""

import copy
import gc

import pytest
import torch
from torch import nn

from simulated_gpu import gpu


def test_it_is_cuda_for_the_length_of_the_block_alone():
    before = torch.cuda.is_available(), torch.empty, nn.Module._apply
    with gpu(total=2**30) as device:
        x = torch.ones(3, device="cuda")
        assert (x.device, x.is_cuda, x.cpu().is_cuda) == (torch.device("cuda", 0), True, False)
        assert torch.cuda.get_device_properties(0).total_memory == 2**30
        assert device.launches["aten.ones.default"] + device.launches["aten.fill_.Scalar"] == 1
    assert (torch.cuda.is_available(), torch.empty, nn.Module._apply) == before


def test_tensors_of_both_devices_do_not_meet_but_where_cuda_lets_them():
    with gpu():
        host, x = torch.ones(4), torch.ones(4, device="cuda")
        for meet in (lambda: x + host, lambda: host.add_(x), lambda: torch.stack((x, host)), lambda: host[x.long()]):
            with pytest.raises(RuntimeError, match="same device"):
                meet()
        with pytest.raises(RuntimeError, match="at least two devices"):
            torch.zeros(()).add_(x.sum())
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            x.numpy()
        assert (x * torch.tensor(3.0)).tolist() == [3.0] * 4
        assert x[torch.tensor([0, 2])].tolist() == [1.0, 1.0]


def test_another_gpu_than_the_first_is_not_there():
    with gpu(), pytest.raises(torch.AcceleratorError, match="invalid device ordinal"):
        torch.ones(1, device="cuda:1")


def test_a_non_blocking_copy_holds_nan_until_its_event_is_waited_for():
    with gpu() as device:
        x = torch.ones(2, device="cuda")
        device.forget_waits()
        target = torch.empty(2, pin_memory=True).copy_(x, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        later = x.to("cpu", torch.float64, non_blocking=True)
        x += 1  # after both copies in the stream
        assert target.isnan().all()
        assert not device.waits
        event.synchronize()
        assert target.tolist() == [1.0, 1.0]
        assert later.isnan().all(), "the event is not behind this one"
        torch.cuda.synchronize()
        assert later.tolist() == [1.0, 1.0]
        assert device.waits == {"event": 1, "synchronize": 1}


def test_a_copy_to_memory_that_is_not_pinned_waits():
    with gpu() as device:
        x = torch.ones(2, device="cuda")
        device.forget_waits()
        assert torch.empty(2).copy_(x, non_blocking=True).tolist() == [1.0, 1.0]
        x.cpu()
        float(x.sum())
        torch.ones(2).to("cuda", non_blocking=True)
        assert device.waits == {"copy to host": 2, "_local_scalar_dense": 1, "copy from pageable memory": 1}
        torch.ones(2).pin_memory().to("cuda", non_blocking=True)
        assert device.waits.total() == 4


def test_pinned_memory_that_is_written_while_it_is_read_is_noticed():
    with gpu():
        source = torch.ones(2).pin_memory()
        source.to("cuda", non_blocking=True)
        source += 1
        with pytest.raises(AssertionError, match="while the device still read it"):
            torch.cuda.synchronize()
        source.to("cuda", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        event.synchronize()
        source += 1
        torch.cuda.synchronize()


def test_memory_is_counted_once_for_all_views_and_freed_with_the_last():
    with gpu() as device:
        x = torch.zeros(256, device="cuda")
        view = x[:10].view(2, 5)
        assert device.allocated == 1024 == torch.cuda.memory_allocated()
        del x
        assert device.allocated == 1024
        del view
        gc.collect()
        assert (device.allocated, device.peak) == (0, 1024)


def test_more_memory_than_the_limit_is_an_error_and_what_is_freed_can_be_taken():
    with gpu(limit=1000) as device:
        x = torch.zeros(200, device="cuda")
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            torch.zeros(200, device="cuda")
        del x
        assert torch.zeros(200, device="cuda").sum().item() == 0
        assert device.peak <= 1000


def test_after_a_sticky_error_every_operation_fails():
    with gpu() as device:
        x = torch.ones(2, device="cuda")
        device.sticky_error = "CUDA error: an illegal memory access was encountered"
        for _ in range(2):
            with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
                x + 1
    with gpu():
        assert torch.ones(2, device="cuda").sum().item() == 2


def test_a_module_moves_with_its_tied_parameters_and_trains_to_the_bits_of_the_cpu():
    def trained(device: str) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
        model[1].weight = model[0].weight
        model = copy.deepcopy(model.to(device))
        assert model[1].weight is model[0].weight
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            model(torch.ones(2, 5, device=device)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return model[0].weight.detach().cpu()

    expected = trained("cpu")
    with gpu() as device:
        assert torch.equal(trained("cuda"), expected)
        gc.collect()
        assert device.allocated == 0
