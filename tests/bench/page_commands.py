"""The commands that pages and help print: read out of fenced blocks, inline code, YAML comments and docstrings."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from antipasto_bench.cli.app import COMMANDS
from antipasto_bench.cli.results import rebuild, verify

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmark/reference/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SETTINGS = sorted((ROOT / "benchmark").glob("*/*.yaml"))
PROGRAMS = (
    "antipasto-bench", "just", "scripts/just", "lm_eval", "python", "python3", "torchrun", "accelerate", "pip", "git",
    "ray", "sbatch", "srun", "export", "pre-commit",
)  # fmt: skip
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


def page_commands() -> dict[str, str]:
    """Every command as printed, white space apart, each with a place where it stands."""
    places: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text()
        for _, language, body in FENCE.findall(text):
            if language == "sh":
                for command in _of_shell(body):
                    places.setdefault(command, page.name)
        for command in _inline(FENCE.sub("", text)):
            places.setdefault(command, page.name)
    for path in SETTINGS:
        for line in re.findall(r"^#     (\S.*)$", path.read_text(), flags=re.MULTILINE):
            places.setdefault(_bare(line), path.name)
    for function in (*COMMANDS.values(), verify, rebuild):
        for command in _inline(inspect.getdoc(function) or ""):
            places.setdefault(command, f"help of {function.__name__}")
    return places


def _of_shell(body: str) -> Iterator[str]:
    """A command a line; of a script those of this project alone, since the rest is the machine's own."""
    lines = re.sub(r"\\\n\s*", " ", body).splitlines()
    script = body.startswith("#!")
    for line in lines:
        command = _bare(re.sub(r"(^|\s)#.*$", "", line))
        if script:
            command = command[command.find("antipasto-bench") :] if "antipasto-bench" in command else ""
        yield from filter(None, command.split(" && "))


def _inline(text: str) -> Iterator[str]:
    """Inline code that begins with one of the programs and says more than its name."""
    for code in re.findall(r"`([^`]+)`", text):
        command = _bare(code)
        if command.split(" ")[0] in PROGRAMS and " " in command and not command.startswith("export -"):
            yield command


def short_phrases() -> set[str]:
    """Inline code that leaves out the program's name, such as `measure RUN_ID --costs`."""
    texts = [FENCE.sub("", page.read_text()) for page in PAGES]
    codes = {" ".join(code.split()) for text in texts for code in re.findall(r"`([^`]+)`", text)}
    return {code for code in codes if code.split(" ")[0] in COMMANDS and "--" in code}


def _bare(command: str) -> str:
    return " ".join(command.split()).removeprefix(".venv/bin/")


def scripts() -> list[str]:
    """The shell scripts that pages print whole."""
    return [body for page in PAGES for _, _, body in FENCE.findall(page.read_text()) if body.startswith("#!")]
