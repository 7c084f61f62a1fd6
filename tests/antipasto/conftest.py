import pytest
import torch
from tiny_model import Tiny


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()
