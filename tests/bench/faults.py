"""Random faults of files, one at a time, and what the readers of each file make of them.

    PYTHONPATH=src:tests/bench .venv/bin/python tests/bench/faults.py --seed 7 --count 5000

A fault is noticed if a reader warns of the file or refuses it by name, and harmless if every reader gives what it gave
before. Anything else is a failure: another exception, or another result without a word.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antipasto.config import AdapterError
from antipasto_bench.core.errors import UserError

KINDS = ("flipped bit", "changed byte", "truncated", "emptied", "removed", "zeros", "line twice")
WEIGHTS = (10, 6, 6, 1, 1, 2, 2)  # how often each is drawn


@dataclass(frozen=True)
class Fault:
    kind: str
    place: int  # byte offset; the number of a line where one is written twice
    value: int = 0  # bit that is flipped, byte that is written, or length of the block of zeros

    def of(self, content: bytes) -> bytes | None:
        """The content of a file with this fault; None where the file is removed."""
        start, rest = content[: self.place], content[self.place + 1 :]
        match self.kind:
            case "flipped bit":
                return start + bytes([content[self.place] ^ (1 << self.value)]) + rest
            case "changed byte":
                return start + bytes([self.value]) + rest
            case "truncated":
                return start
            case "emptied":
                return b""
            case "removed":
                return None
            case "zeros":
                end = min(len(content), self.place + self.value)
                return start + bytes(end - self.place) + content[end:]
            case "line twice":
                lines = content.splitlines(keepends=True)
                return b"".join([*lines[: self.place + 1], *lines[self.place :]])
        raise AssertionError(self.kind)


def draw_fault(content: bytes, rng: random.Random) -> Fault:
    """A fault that changes the content."""
    while True:
        kind = rng.choices(KINDS, WEIGHTS)[0]
        lines = content.count(b"\n") or 1
        place = rng.randrange(lines if kind == "line twice" else max(1, len(content)))
        value = {"flipped bit": 8, "changed byte": 256, "zeros": 64}.get(kind, 1)
        fault = Fault(kind, place, rng.randrange(value))
        if fault.of(content) != content:
            return fault


@contextmanager
def faulty(path: Path, fault: Fault) -> Iterator[None]:
    """The file with a fault; what it held before is put back, whatever a reader wrote meanwhile."""
    content = path.read_bytes()
    changed = fault.of(content)
    try:
        if changed is None:
            path.unlink()
        else:
            path.write_bytes(changed)
        yield
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


Parts = Mapping[str, object]


@dataclass(frozen=True)
class Reader:
    """A function that reads evidence.

    Attributes:
        read: gives the parts of what was read, by name; equal parts are equal in every number.
        may_lack: parts may be missing without a word, since the program computes the very same again.
        speaks: it lists what is wrong as its result; a list that names the file notices the fault.
        earlier: what it gives of states that the file had before, which a kill could have left as well.
    """

    name: str
    read: Callable[[], Parts]
    may_lack: bool = False
    speaks: bool = False
    earlier: Sequence[Parts] = ()


@dataclass(frozen=True)
class Subject:
    """A file, its readers, and the words by which a message can name it."""

    path: Path
    kind: str
    readers: Sequence[Reader]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    noticed: tuple[str, ...] = ()  # the readers that named the file
    failures: tuple[str, ...] = ()


def judge(subject: Subject, whole: Mapping[str, Parts]) -> Verdict:
    """What the readers make of a file that has a fault now.

    Args:
        whole: what each gave without it.
    """
    noticed: list[str] = []
    silent: list[str] = []
    failures: list[str] = []
    for reader in subject.readers:
        said: list[str] = []
        parts: Parts | None = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                parts = reader.read()
            except (UserError, AdapterError) as error:
                said = [str(error)]
            except Exception as error:
                failures.append(f"{reader.name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
                continue
        said += [str(warning.message) for warning in caught]
        before = whole[reader.name]
        if reader.speaks and parts is not None and parts != before:
            said += [str(value) for name, value in parts.items() if before.get(name) != value]
        if any(name in text for text in said for name in (subject.path.name, *subject.names)):
            noticed.append(reader.name)
        elif parts is None or not any(_same(parts, state, reader.may_lack) for state in (before, *reader.earlier)):
            silent.append(f"{reader.name}: {_difference(parts, before, said)}")
    return Verdict(tuple(noticed), (*failures, *silent))


def _same(parts: Parts, before: Parts, may_lack: bool) -> bool:
    return dict(parts) == dict(before) or (may_lack and all(before.get(k) == v for k, v in parts.items()))


def _difference(parts: Parts | None, before: Parts, said: list[str]) -> str:
    if parts is None:
        return f"a message that does not name the file: {said[0][:200]}"
    changed = [name for name in {**before, **parts} if parts.get(name) != before.get(name)]
    first = changed[0]
    old, new = (str(values.get(first)) for values in (before, parts))
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return f"{first} is another, unsaid: {old[max(0, at - 20) : at + 30]!r} -> {new[max(0, at - 20) : at + 30]!r}"


@dataclass(frozen=True)
class Failure:
    kind: str  # of the file
    path: Path
    fault: Fault
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}: {self.fault.kind} at {self.fault.place}: {'; '.join(self.reasons)}"


@dataclass
class Summary:
    noticed: Counter[str]
    harmless: Counter[str]
    failures: list[Failure]

    @property
    def count(self) -> int:
        return self.noticed.total() + self.harmless.total() + len(self.failures)

    def __str__(self) -> str:
        failed = Counter(failure.kind for failure in self.failures)
        kinds = sorted({*self.noticed, *self.harmless, *failed})
        lines = [f"{'file':24} {'faults':>6} {'noticed':>8} {'harmless':>8} {'failed':>6}"]
        for kind in kinds:
            counts = self.noticed[kind], self.harmless[kind], failed[kind]
            lines.append(f"{kind:24} {sum(counts):6} {counts[0]:8} {counts[1]:8} {counts[2]:6}")
        total = self.noticed.total(), self.harmless.total(), len(self.failures)
        lines.append(f"{'all':24} {sum(total):6} {total[0]:8} {total[1]:8} {total[2]:6}")
        return "\n".join(lines)


def inject(
    subjects: Sequence[Subject],
    shares: Mapping[str, int],
    count: int,
    seed: int,
    on_failure: Callable[[Failure], None] = lambda failure: None,
) -> Summary:
    """Try random faults, one after another; the same seed gives the same ones.

    Args:
        shares: how often a file of each kind is drawn.
        on_failure: is told of each failure at once.
    """
    rng = random.Random(seed)
    by_kind: dict[str, list[Subject]] = defaultdict(list)
    for subject in subjects:
        by_kind[subject.kind].append(subject)
    readers = {reader.name: reader for subject in subjects for reader in subject.readers}
    gc.collect()
    gc.freeze()  # statsmodels collects garbage in every correction, which takes seconds beside torch and lm-eval
    whole = {name: dict(reader.read()) for name, reader in readers.items()}
    summary = Summary(Counter(), Counter(), [])
    kinds = sorted(by_kind)
    for _ in range(count):
        kind = rng.choices(kinds, [shares[kind] for kind in kinds])[0]
        subject = rng.choice(by_kind[kind])
        fault = draw_fault(subject.path.read_bytes(), rng)
        with faulty(subject.path, fault):
            verdict = judge(subject, whole)
        if verdict.failures:
            summary.failures.append(Failure(kind, subject.path, fault, verdict.failures))
            on_failure(summary.failures[-1])
        else:
            (summary.noticed if verdict.noticed else summary.harmless)[kind] += 1
    for name, reader in readers.items():
        assert dict(reader.read()) == whole[name], f"{name} gives something else once all faults are mended"
    gc.unfreeze()
    return summary


def main() -> int:
    """Build the evidence, try faults, print every failure and the summary; exit code 1 where one failed."""
    from faulted_evidence import SHARES, build

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = inject(
            build(Path(folder)), SHARES, options.count, options.seed, lambda failure: print(failure, flush=True)
        )
    print(summary)
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
