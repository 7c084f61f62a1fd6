"""A lock for file systems that have no flock: NFS without its lock service, Lustre without `-o flock`, some of FUSE.

A lock is a folder of numbered claims. Each names the process that took it, and the one of the highest number holds the
lock until it is released, which empties its file, or its process has ended:

- A claim is written aside and then linked to the next number. Of several processes link() lets one alone succeed, over
  NFS too, and a claim is whole from its first moment.
- The highest number is never removed. A process that read the folder long ago, and now links a number that was used and
  removed since, sees a higher one when it looks again, and gives its own up.
- A holder of this machine that has ended, by SIGKILL or with the power, is known by its process and superseded at once.
  One that cannot be seen from here, on another machine or in another container, renews the time of its claim every
  HEARTBEAT_S. It is superseded when that time is STALE_S old by the clock of the file system, and then stands still for
  WATCH_S more by the clock of the one that waits: so a clock that is set takes no lock from a living process.

filelock's SoftFileLock and SoftFileLease do not serve here: to take over from a dead holder they exchange two names in
one step, which NFS and Lustre refuse, and then wait for ever; and a killed process counts as alive to them until its
parent has read its exit status.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from .errors import UserError
from .process_identity import ProcessIdentity, fate, this_process

HEARTBEAT_S = 30.0
STALE_S = 600.0
WATCH_S = 3 * HEARTBEAT_S
NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})


class Claims:
    """The claims on one lock, as one process takes and releases them.

    Args:
        folder: of the claims; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watching = False  # whether the holder may have ended, which take() will know after WATCH_S
        self._seen: tuple[tuple[int, int], float] | None = None  # of the holder's claim: number and time, first seen at
        self._number = 0  # of this process's claim
        self._released = threading.Event()
        self._heart: threading.Thread | None = None

    def take(self) -> bool:
        """Take the lock; False where another process holds it.

        Raises:
            UserError: the file system has no hard links.
        OSError: the claim could not be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        highest = self._highest()
        if highest and not self._is_free(highest):
            return False
        with self._draft() as draft:
            return self._link(draft, highest + 1)

    def release(self) -> None:
        """Release the lock. It needs no space on the disk."""
        self._released.set()
        if self._heart is not None:
            self._heart.join()
        with suppress(OSError):  # the claim then ends with this process
            if self._highest() > self._number:
                warnings.warn(
                    f"{self.folder}: another process took this lock over, since this one did not renew its claim for "
                    f"{STALE_S / 60:.0f} minutes: both may have worked on the same",
                    stacklevel=2,
                )
            os.truncate(self._claim(self._number), 0)

    def _link(self, draft: Path, number: int) -> bool:
        claim = self._claim(number)
        try:
            os.link(draft, claim)
        except FileExistsError:
            if draft.stat().st_nlink == 1:  # else the first of two requests over the network has succeeded
                return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise UserError(
                f"{self.folder} is on a file system with neither file locks nor hard links: choose another folder"
            ) from error
        try:
            if self._highest() != number:
                claim.unlink(missing_ok=True)
                return False
            self._number = number
            self._remove_below(number)
            self._released.clear()
            self._heart = threading.Thread(target=self._renew, args=(claim,), daemon=True)
            self._heart.start()
        except BaseException:
            with suppress(OSError):
                os.truncate(claim, 0)
            raise
        return True

    def _is_free(self, number: int) -> bool:
        """Whether a claim no longer holds the lock."""
        try:
            with open(self._claim(number), "rb") as file:  # opening it has NFS ask the server for its time
                content, renewed = file.read(), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:  # superseded, and removed
            return False
        if not content:
            return True
        try:
            state = fate(ProcessIdentity.model_validate_json(content))
        except ValidationError:
            state = "unknown"
        self.watching = state == "unknown" and self._is_stale(renewed)
        return state == "dead" or (self.watching and self._stands_still(number, renewed))

    def _is_stale(self, renewed: int) -> bool:
        """Whether a time (ns) is far from now, by the clock of the file system; past or future, since it can be set."""
        with self._draft() as draft:
            return abs(draft.stat().st_mtime_ns - renewed) > STALE_S * 1e9

    def _stands_still(self, number: int, renewed: int) -> bool:
        """Whether the time of a claim is the same since WATCH_S."""
        now, claim = time.monotonic(), (number, renewed)
        if self._seen is None or self._seen[0] != claim:
            self._seen = claim, now
            warnings.warn(
                f"{self.folder}: its holder, on another machine, has not renewed it for over {STALE_S / 60:.0f} "
                f"minutes; it is taken over unless it does within {WATCH_S:.0f} s",
                stacklevel=2,
            )
        return now - self._seen[1] >= WATCH_S

    def _renew(self, claim: Path) -> None:
        """Renew the claim until it is released or superseded."""
        while not self._released.wait(HEARTBEAT_S):
            with suppress(OSError):  # of the network: the next time may succeed
                if self._highest() > self._number:
                    return
                os.utime(claim)

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """A file that names this process, for the length of a block."""
        draft = self.folder / f".{os.getpid()}.{uuid.uuid4().hex}"
        try:
            draft.write_text(this_process().model_dump_json(), encoding="utf-8")
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def _claim(self, number: int) -> Path:
        return self.folder / f"{number:012d}"

    def _numbers(self) -> list[int]:
        return [int(name) for name in os.listdir(self.folder) if name.isascii() and name.isdigit()]

    def _highest(self) -> int:
        """The number of the claim that counts; 0 where there is none."""
        return max(self._numbers(), default=0)

    def _remove_below(self, number: int) -> None:
        """Remove superseded claims, and what killed processes have left of drafts; to be called by the holder."""
        now = self._claim(number).stat().st_mtime
        old = [self._claim(below) for below in self._numbers() if below < number]
        for path in [*old, *self.folder.glob(".*")]:
            with suppress(OSError):  # removed by another, or another user's: it does no harm
                if path in old or now - path.stat().st_mtime > STALE_S:
                    path.unlink()
