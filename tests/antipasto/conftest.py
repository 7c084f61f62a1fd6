import pytest
import torch
from tiny_model import Tiny


@pytest.fixture(autouse=True)
def no_svd_cache(monkeypatch):
    """Tests decompose hundreds of tiny matrices: the user's own cache is not the place for them."""
    monkeypatch.setenv("ANTIPASTO_CACHE", "off")


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()
