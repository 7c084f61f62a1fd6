"""How many trained parameters the training data could fill: a hint, no measurement.

Networks can store 2 bits of knowledge a parameter (Allen-Zhu and Li, Physics of Language Models: Part 3.3, Knowledge
Capacity Scaling Laws, 2024, arXiv 2404.05405: whole language models trained long on synthetic facts). Data of LLMs hold
at most about 1 bit (0.69 nats) a token, their usual loss in the first epoch (Schulman and Thinking Machines Lab, LoRA
Without Regret, 2025, thinkingmachines.ai/blog/lora, section "How much capacity is needed by supervised and
reinforcement learning?"). That section puts the two side by side and gives no formula; it says that this is the
capacity to memorize the data, more than what generalizes needs, and that how much is needed is an open question. So

    filled = tokens * BITS_PER_TOKEN / BITS_PER_PARAMETER    parameters

are what the data could fill at most. Only the first time that an example is seen counts.
"""

from __future__ import annotations

BITS_PER_PARAMETER = 2.0
BITS_PER_TOKEN = 1.0
IN_PROPORTION = ("lora", "pissa", "eva")  # r (d_in + d_out) parameters a layer, at any r


def parameters_filled(tokens: int) -> float:
    """Trained parameters that so many completion tokens could fill."""
    return tokens * BITS_PER_TOKEN / BITS_PER_PARAMETER


def rank_filled(variant: str, rank: int | None, parameters: int, tokens: int) -> int | None:
    """The least rank at which there are as many parameters as the tokens could fill.

    Args:
        rank, parameters: of the adapter as it was trained.

    Returns:
        None for a variant whose parameters are not in proportion to its rank, or whose rank has no number.
    """
    if variant not in IN_PROPORTION or rank is None:
        return None
    return max(1, -(-round(rank * parameters_filled(tokens)) // parameters))
