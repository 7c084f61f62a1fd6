"""The command line where the second process of a run has memory for five questions at once.

RANK=1 WORLD_SIZE=2 ... python -m little_memory run base
"""

import os
from typing import Any

import torch

from antipasto_bench.cli.app import main
from antipasto_bench.run.generate import Scorer

answer = Scorer._generate_greedily


def in_little_memory(self: Scorer, prompts: Any, *given: Any) -> Any:
    if os.environ["RANK"] == "1" and len(prompts) > 5:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return answer(self, prompts, *given)


if __name__ == "__main__":
    Scorer._generate_greedily = in_little_memory  # type: ignore[method-assign]
    main()
