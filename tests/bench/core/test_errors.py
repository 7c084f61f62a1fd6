"""Claims about what is said of an error: the cause in our words, and the library's text shortened behind it."""

import socket
import threading
import time

import datasets.config
import pytest
import torch
from huggingface_hub import constants

from antipasto_bench.core import hub
from antipasto_bench.core.errors import first_line, out_of_memory


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("Couldn't instantiate the backend tokenizer from one of: \n(1) a"), "it has no tokenizer file"),
        (
            RuntimeError("You set `ignore_mismatched_sizes` ... look at the above report!"),
            "its weights have other shapes",
        ),
        (RuntimeError("Error while deserializing header: header too small"), "a .safetensors file is damaged"),
        (ValueError("model type `x9` but Transformers does not recognize this"), "model_type x9 is unknown"),
        (ValueError("Class validation error for validator 'v':\n    ValueError: 4 is not 1"), "ValueError: 4 is not 1"),
        (OSError("404 Client Error. (Request ID: 1)"), "the hub has nothing public of that name"),
        (OSError("You are trying to access a gated repo."), "access needs `hf auth login`"),
        (KeyError("spiral"), "KeyError: 'spiral'"),
        (TypeError("'int' object is not iterable"), "TypeError: 'int' object"),
        (ValueError(""), "ValueError"),
        (ValueError("steps is 0.\nmore"), "steps is 0"),
    ],
)
def test_the_cause_comes_first_and_in_one_line(error, said):
    line = first_line(error)
    assert line.startswith(said)
    assert "\n" not in line
    assert len(line) <= 200


@pytest.mark.parametrize(("setting", "said"), [("1", "HF_HUB_OFFLINE is set"), ("0", "the hub was not reached")])
def test_offline_is_said_without_advice_to_unset_what_is_not_set(monkeypatch, setting, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", setting)
    error = OSError("Cannot reach https://x: offline mode is enabled. To disable it, please unset `HF_HUB_OFFLINE`")
    assert first_line(error) == said


@pytest.fixture
def online(monkeypatch):
    """As if nobody had said anything of the network."""
    hub._reachable.cache_clear()
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setattr(datasets.config, name, False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield monkeypatch
    hub._reachable.cache_clear()


def offline():
    return constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_OFFLINE


def test_no_connection_to_the_hub_puts_all_its_clients_offline(online):
    online.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.go_offline_if_unreachable()
    assert offline() == (True, True, True)


def test_a_hub_that_answers_at_all_is_reachable(online):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        online.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        hub.go_offline_if_unreachable()
        thread.join()
    assert offline() == (False, False, False)


def test_a_name_server_that_never_answers_is_waited_for_once_and_briefly(online):
    asked = []
    online.setattr(hub, "SECONDS", 0.2)
    online.setattr(hub, "_answers", lambda endpoint: asked.append(endpoint) or time.sleep(5))
    began = time.monotonic()
    for _ in range(3):
        online.setattr(constants, "HF_HUB_OFFLINE", False)
        hub.go_offline_if_unreachable()
    assert len(asked) == 1
    assert time.monotonic() - began < 3
    assert offline() == (True, True, True)


@pytest.mark.parametrize("value", ["0", "1"])
def test_nothing_is_probed_where_the_user_has_decided(online, value):
    online.setenv("HF_HUB_OFFLINE", value)
    online.setattr(hub, "_answers", lambda endpoint: pytest.fail("a request"))
    hub.go_offline_if_unreachable()
    assert offline() == (False, False, False)


@pytest.mark.parametrize(("free", "lacks"), [(2**30, True), (40 * 2**30, False)])
def test_cudnns_attention_lacks_memory_where_the_gpu_is_full(monkeypatch, free, lacks):
    """It says the same of other errors, which are no reason to try fewer rows."""
    error = RuntimeError(
        "Expected mha_graph.execute(handle, variant_pack, workspace_ptr.get()).is_good() to be true, but got false."
    )
    assert not out_of_memory(error), "there is no GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80 * 2**30))
    assert out_of_memory(error) == lacks
    assert not out_of_memory(RuntimeError("shapes do not fit"))
