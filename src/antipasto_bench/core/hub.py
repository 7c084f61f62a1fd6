"""Whether the Hugging Face hub can be reached, asked once: its clients retry for half a minute, each anew."""

from __future__ import annotations

import os
import threading
from functools import cache

SECONDS = 3.0  # to connect in; a name server that does not answer would take longer to give up


def go_offline_if_unreachable() -> None:
    """Put the hub's clients into offline mode for the rest of this process where no connection to the hub comes about.

    Nothing is probed where HF_HUB_OFFLINE is set, to 0 or 1. Proxies, HF_ENDPOINT and certificates are honoured: the
    probe is a request of the hub's own client. Any answer counts, whatever its status.
    """
    if "HF_HUB_OFFLINE" not in os.environ and "HF_DATASETS_OFFLINE" not in os.environ and not _reachable():
        import datasets.config
        from huggingface_hub import constants

        # Read when the libraries are imported, which is long ago, and looked up here at each request.
        constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = True


@cache
def _reachable() -> bool:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return True  # by another variable: nothing is left to be set
    outcome: list[bool] = []
    probe = threading.Thread(target=lambda: outcome.append(_answers(constants.ENDPOINT)), daemon=True)
    probe.start()
    probe.join(SECONDS)  # looking up a name can block for longer than any timeout of the client
    return bool(outcome and outcome[0])


def _answers(endpoint: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=SECONDS)
    except Exception as error:  # the client's library has changed its name before
        return type(error).__name__ == "ReadTimeout"  # connected, and slow to answer
    return True
