"""Write paragraphs of plain English about Python's language, to measure what training makes a model forget.

    .venv/bin/python scripts/make_general_text.py general.jsonl
    antipasto-bench run lora --preset smollm2-135m eval.general=general.jsonl

They are the help topics that come with every Python (`pydoc_data.topics`), so no network is needed. Topics change a
little from one version to the next; a run records the file's digest.
"""

import json
import re
import sys
from pathlib import Path
from pydoc_data.topics import topics

SHORTEST, LONGEST = 400, 1500  # characters: prose, neither headings nor tables


def paragraphs() -> list[str]:
    """Those of the wanted length, topic after topic, white space joined."""
    whole = (" ".join(text.split()) for name in sorted(topics) for text in re.split(r"\n\s*\n", topics[name]))
    return [text for text in whole if SHORTEST <= len(text) <= LONGEST]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("".join(json.dumps({"text": text}) + "\n" for text in paragraphs()))
