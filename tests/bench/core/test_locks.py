"""Claims about locks: one holder at a time, with flock and without, and none whose process is dead."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antipasto_bench.core import claims
from antipasto_bench.core.claims import Claims
from antipasto_bench.core.errors import UserError
from antipasto_bench.core.locks import NO_FLOCK, HeldElsewhere, locked
from antipasto_bench.core.process_identity import this_process

PREAMBLE = """
import errno, fcntl, os, signal, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
folder, number = Path(sys.argv[1]), int(sys.argv[2])
if number:
    def flock(fd, operation):
        raise OSError(number, os.strerror(number))
    fcntl.flock = flock
from antipasto_bench.core.locks import locked
"""

HOLD = """
with locked(folder / "a.lock"):
    (folder / "held").touch()
    time.sleep(600)
"""

COUNT = """
def increments(number_of, death):
    for number in range(number_of):
        with locked(folder / "a.lock"):
            try:
                inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:  # of a process that was killed inside, or of one that is inside now
                before = (folder / "inside").read_text()
                if before not in (folder / "doomed").read_text().split():
                    (folder / f"overlap.{os.getpid()}").write_text(before)
                os.unlink(folder / "inside")
                inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(inside, str(os.getpid()).encode())
            os.close(inside)
            value = int((folder / "counter").read_text())
            time.sleep(0.001)
            if number == death:
                doomed = os.open(folder / "doomed", os.O_WRONLY | os.O_APPEND)
                os.write(doomed, f"{os.getpid()} ".encode())
                os.kill(os.getpid(), signal.SIGKILL)
            counter = os.open(folder / "counter", os.O_WRONLY)
            os.pwrite(counter, f"{value + 1:06d}".encode(), 0)
            os.close(counter)
            os.unlink(folder / "inside")

(folder / f"ready.{os.getpid()}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
increments(int(sys.argv[3]), int(sys.argv[4]))
"""


def python(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(PREAMBLE + script), *map(str, arguments)])


def until(happens) -> None:
    deadline = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def no_flock(monkeypatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    warnings.simplefilter("ignore")


@contextmanager
def a_holder(folder: Path, number: int = errno.ENOLCK) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock; not waited for before the end of the block, so a zombie once it is killed."""
    process = python(HOLD, folder, number)
    try:
        until((folder / "held").exists)
        yield process
    finally:
        process.kill()
        process.wait()


def is_free(folder: Path) -> bool:
    try:
        with locked(folder / "a.lock", wait=False):
            return True
    except HeldElsewhere:
        return False


def put_claim(folder: Path, number: int = 1, **identity: object) -> Path:
    claim = folder / "a.lock.claims" / f"{number:012d}"
    claim.parent.mkdir(exist_ok=True)
    claim.write_text(this_process().model_copy(update=identity).model_dump_json())
    return claim


ELSEWHERE = {"host": "node-7", "machine": "other", "boot": "other"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, errno.ENOLCK, errno.ENOSYS])
def test_processes_that_start_together_and_die_inside_never_overlap_and_lose_no_count(tmp_path, number):
    (tmp_path / "counter").write_text("000000")
    (tmp_path / "doomed").touch()
    deaths = [-1, 0, -1, 3, -1, 7, -1, 7, 1, 0]
    processes = [python(COUNT, tmp_path, number, 15, death) for death in deaths]
    until(lambda: len(list(tmp_path.glob("ready.*"))) == len(deaths))
    (tmp_path / "go").touch()
    survivors = [process for process, death in zip(processes, deaths, strict=True) if death < 0]
    codes = [process.wait(timeout=200) for process in survivors]
    killed = [process.wait(timeout=200) for process in processes if process not in survivors]
    assert codes == [0] * 4
    assert killed == [-signal.SIGKILL] * 6
    assert not list(tmp_path.glob("overlap.*"))
    assert int((tmp_path / "counter").read_text()) == sum(15 if death < 0 else death for death in deaths)


@pytest.mark.parametrize("number", sorted(NO_FLOCK))
def test_where_flock_fails_a_claim_takes_its_place_and_one_line_says_so(tmp_path, monkeypatch, number):
    def flock(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = f"{tmp_path} is on a file system without file locks"
    with pytest.warns(UserWarning, match=said) as warned, locked(tmp_path / "a.lock"):
        assert not is_free(tmp_path)
    assert len({str(warning.message) for warning in warned}) == 1
    warnings.simplefilter("ignore")
    assert is_free(tmp_path)
    assert [path.name for path in (tmp_path / "a.lock.claims").iterdir()] == ["000000000002"]


@pytest.mark.parametrize("number", [0, errno.ENOLCK])
def test_a_killed_holder_blocks_nobody_though_its_parent_has_not_waited_for_it(tmp_path, request, number):
    if number:
        request.getfixturevalue("no_flock")
    with a_holder(tmp_path, number) as process:
        assert not is_free(tmp_path)
        process.send_signal(signal.SIGSTOP)  # stopped is not dead, however long
        assert not is_free(tmp_path)
        process.kill()
        until(lambda: Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1][0] == "Z")
        assert is_free(tmp_path)


def test_a_process_with_flock_respects_a_claim_of_a_machine_without(tmp_path):
    with a_holder(tmp_path) as process:
        assert not is_free(tmp_path)
        process.kill()
        process.wait()
        assert is_free(tmp_path)


def test_a_process_of_another_machine_with_this_number_holds_its_claim_until_it_stands_still(
    tmp_path, no_flock, monkeypatch
):
    monkeypatch.setattr(claims, "WATCH_S", 0.3)
    claim = put_claim(tmp_path, **ELSEWHERE)
    assert not is_free(tmp_path)
    hour_ago = time.time() - 3600
    os.utime(claim, (hour_ago, hour_ago))
    before = time.monotonic()
    assert is_free(tmp_path)
    assert time.monotonic() - before >= 0.3


def test_a_clock_that_is_set_takes_no_claim_from_a_machine_that_renews_it(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(claims, "WATCH_S", 0.5)
    claim = put_claim(tmp_path, **ELSEWHERE)
    waiting = Claims(claim.parent)
    for hours in (-5, 5, -2, 2):  # as if the server's clock were set before each heartbeat
        renewed = time.time() + 3600 * hours
        os.utime(claim, (renewed, renewed))
        assert not waiting.take()
        assert waiting.watching
        time.sleep(0.2)
    time.sleep(0.5)
    assert waiting.take()
    waiting.release()


def test_a_damaged_claim_holds_until_it_stands_still(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(claims, "WATCH_S", 0.1)
    claim = put_claim(tmp_path)
    claim.write_bytes(b"\0" * 40)
    assert not is_free(tmp_path)
    os.utime(claim, (0, 0))
    assert is_free(tmp_path)


def test_the_holder_renews_the_time_of_its_claim(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.02)
    with locked(tmp_path / "a.lock"):
        claim = tmp_path / "a.lock.claims" / "000000000001"
        os.utime(claim, (0, 0))
        until(lambda: claim.stat().st_mtime > time.time() - 60)


def test_a_holder_that_was_superseded_says_so_and_leaves_the_next_claim_alone(tmp_path, no_flock):
    with pytest.warns(UserWarning, match="another process took this lock over"), locked(tmp_path / "a.lock"):
        put_claim(tmp_path, 2)
    assert not is_free(tmp_path)


def test_a_waiter_that_read_the_folder_long_ago_gives_its_number_up(tmp_path, no_flock):
    folder = tmp_path / "a.lock.claims"
    put_claim(tmp_path, 5).write_bytes(b"")
    late, first, second = Claims(folder), Claims(folder), Claims(folder)

    def meanwhile(number: int) -> bool:
        assert first.take()
        first.release()
        assert second.take()
        return True

    late._is_free = meanwhile  # type: ignore[method-assign]
    assert not late.take()  # number 6 was removed, and can be linked again
    assert [path.name for path in folder.iterdir()] == ["000000000007"]
    second.release()


@pytest.mark.parametrize("flock", [True, False])
def test_a_folder_in_place_of_the_lock_file_is_one_line(tmp_path, request, flock):
    if not flock:
        request.getfixturevalue("no_flock")
    (tmp_path / "a.lock").mkdir()
    with pytest.raises(UserError, match=r"a\.lock: cannot be locked: Is a directory"), locked(tmp_path / "a.lock"):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, number):
    opened = os.open

    def denied(path, flags, *arguments, **options):
        if str(path).endswith("a.lock"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(UserError, match=f"cannot be locked: {os.strerror(number)}"), locked(tmp_path / "a.lock"):
        pass


def test_a_file_system_with_neither_locks_nor_hard_links_is_one_line(tmp_path, no_flock, monkeypatch):
    def link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(UserError, match="neither file locks nor hard links"), locked(tmp_path / "a.lock"):
        pass
    assert list((tmp_path / "a.lock.claims").iterdir()) == []


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
with warnings.catch_warnings():
    try:
        with locked(folder / "b.lock"):
            pass
    except OSError as error:
        print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with locked(folder / "a.lock"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
"""


def test_on_a_full_disk_a_claim_is_not_taken_and_one_that_is_held_is_released(tmp_path, no_flock):
    script = textwrap.dedent(PREAMBLE + FULL)
    command = [sys.executable, "-c", script, str(tmp_path), str(errno.ENOLCK)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(errno.EFBIG)]
    assert list((tmp_path / "b.lock.claims").iterdir()) == []
    (claim,) = (tmp_path / "a.lock.claims").iterdir()
    assert claim.read_bytes() == b""
    assert is_free(tmp_path)
