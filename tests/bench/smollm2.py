"""SmolLM2-135M for tests, from the package index; and the embedded model's questions, whose answers are short."""

from pathlib import Path

import pytest

from antipasto_bench.core.errors import UserError
from antipasto_bench.run.gguf import packaged_folder

NANO = Path(__file__).parents[2] / "benchmark" / "data" / "nano"


def base_folder() -> Path:
    """The folder of the untuned model; the test is skipped where the package index is out of reach."""
    try:
        return packaged_folder("smollm2-135m")
    except UserError as error:
        if "pip did not get" not in str(error):
            raise
        pytest.skip(f"the package index is out of reach: {error}")
