"""What a backend of answers cannot score, refused before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from ..core.errors import UserError
from ..core.install import install_hint
from ..spec.config import BASE, RunConfig


def check_backend(run: RunConfig, processes: int = 1) -> None:
    """Refuse, before anything is loaded, to score by vLLM what it cannot score.

    Raises:
        UserError: vLLM is not installed or has no GPU, or the adapter does not merge into a plain model.
    """
    if run.eval.backend != "vllm":
        return
    if run.eval.stop != "task":
        raise UserError(f"eval.backend=vllm does not know of eval.stop={run.eval.stop}; write eval.backend=hf")
    if find_spec("vllm") is None:
        raise UserError(f"eval.backend=vllm needs vLLM; install it with: {install_hint('vllm')}")
    if not torch.cuda.is_available():
        raise UserError("eval.backend=vllm needs a GPU; write eval.backend=hf")
    if run.quant != "none":
        raise UserError(f"eval.backend=vllm scores plain weights, not quant={run.quant}; write eval.backend=hf")
    if run.variant != BASE and not run.method.mergeable:
        raise UserError(f"eval.backend=vllm scores merged weights, and {run.variant} has none; write eval.backend=hf")
    if processes > 1:
        raise UserError("eval.backend=vllm is for one process; start it without torchrun, or write eval.backend=hf")
