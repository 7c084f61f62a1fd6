"""The nano test questions for lm-eval, found beside this file wherever lm-eval is started."""

import json
from pathlib import Path

from datasets import Dataset, DatasetDict

QUESTIONS = Path(__file__).resolve().parent / "test.jsonl"


def load(**metadata: object) -> DatasetDict:
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    return DatasetDict({"test": Dataset.from_list([json.loads(line) for line in lines])})
