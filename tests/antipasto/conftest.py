import pytest
import torch
from tiny_model import Tiny


@pytest.fixture(autouse=True)
def no_svd_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests decompose hundreds of tiny matrices, which would fill the user's own cache."""
    monkeypatch.setenv("ANTIPASTO_CACHE", "off")


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()
