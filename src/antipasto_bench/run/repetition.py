"""Whether an answer ends in a text that it repeats."""

BOUND = 200  # characters that are repeated exactly, about 50 tokens


def repeats(answer: str) -> bool:
    """Whether each of the last BOUND characters is the one a fixed distance before it, a distance of BOUND at most."""
    end = answer[-BOUND:]
    before = answer.rfind(end, 0, len(answer) - 1)
    return len(end) == BOUND and before >= 0 and len(answer) - BOUND - before <= BOUND
