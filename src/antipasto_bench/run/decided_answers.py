"""Where an answer's score is decided: whatever the model writes on, the headline filter gives the same number.

`eval.stop=decided` ends answers there. It is for tasks that the filter `given-answer` scores, which reads the number
that an answer announces first (benchmark/tasks/gsm8k_metamath/given_answer.py). Only whole lines are looked at: where
the filter looks for an announcement, for its sentence and for the heading of another problem, nothing in a whole line
depends on what comes behind it, but for two things: a number in braces over several lines is whole where they close,
and an announcement that the next line may complete (`#### The final`, then `answer`) is not whole yet.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import UserError
from ..core.paths import benchmark_dir
from .tasks import BY_VALUE, filter_steps

LINE_ENDS = "\n\r"
RULES = "gsm8k_metamath/given_answer.py"
LAST_WORD = "answer"  # the only word behind a line's end that an announcement found before it can still take in


class Decision:
    """Tells of an answer whether its number is decided."""

    def __init__(self, rules: ModuleType) -> None:
        """
        Args:
            rules: the module of the filter.
        """
        self._rules: Any = rules  # its patterns are read by their own names: one rule, in one place

    def __call__(self, answer: str) -> bool:
        """Whether the filter gives this answer's number to every answer that begins with its whole lines."""
        rules = self._rules
        text: str = rules._plain(answer[: max(answer.rfind(end) for end in LINE_ENDS) + 1])
        announcement = rules._ANNOUNCEMENT.search(text)
        number = next((start for _, start, _ in rules._numbers(text)), len(text))
        said = min(number, announcement.start() if announcement else len(text))
        if said == len(text):
            return False
        if rules._OTHER_PROBLEM.search(text, said):  # nothing behind the heading of another problem counts
            return True
        return announcement is not None and self._number_is_whole(text, announcement)

    def cut(self, answer: str) -> str:
        """The answer up to the end of the line that decides; the whole answer where none does."""
        for place, character in enumerate(answer):
            if character in LINE_ENDS and self(answer[: place + 1]):
                return answer[: place + 1]
        return answer

    def _number_is_whole(self, text: str, announcement: Any) -> bool:
        """Whether whole lines hold all that the filter reads behind an announcement."""
        rules = self._rules
        behind = text[announcement.end() :]
        if rules._ANNOUNCEMENT.match(text + LAST_WORD, announcement.start()).end() != announcement.end():
            return False
        if announcement[0].startswith("\\"):
            line, end, _ = behind.partition("\n")
            return bool(end) and (not line.lstrip().startswith("{") or self._closes(behind))
        for line in behind.split("\n")[:-1]:
            if not any(map(str.isalnum, line)):
                continue
            sentence = line[: end.start()] if (end := rules._SENTENCE_END.search(line)) else line
            if rules._first(sentence)[0] or not sentence.rstrip(" \t*_`$").endswith(":"):
                return True
        return False

    def _closes(self, text: str) -> bool:
        """Whether the brace that a text begins with is closed."""
        depth = 0
        for brace in self._rules._BRACE.finditer(text):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0 and brace[0] == "}":
                return True
        return False


def decision_of(tasks: Sequence[Any]) -> Decision:
    """What decides the answers to some tasks.

    Raises:
        UserError: a task's headline is not what the project's filter `given-answer` reads.
    """
    rules: Any = None
    for task in tasks:
        steps = filter_steps(task).get(BY_VALUE, [{}])
        rules = sys.modules.get(getattr(steps[0].get("function"), "__module__", ""))
        if rules is None or Path(rules.__file__ or "") != benchmark_dir() / "tasks" / RULES:
            raise UserError(
                f"eval.stop=decided: {task.task_name} is not scored by the filter {BY_VALUE} of tasks/{RULES}, and "
                "what decides its answers is not known; write eval.stop=task"
            )
    return Decision(rules)
