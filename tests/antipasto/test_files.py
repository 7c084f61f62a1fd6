"""Claims about files and folders that appear whole or not at all."""

import errno
import os
import re

import pytest

from antipasto import files
from antipasto.files import atomically, folder_atomically, read_regular


def fail_in(writing, text):
    """Write a file, or a file in a folder, and fail before all is written."""
    with writing as partial:
        (partial / "two" if partial.is_dir() else partial).write_text(text)
        raise KeyError


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.json"
    with atomically(path) as partial:
        partial.write_text("old")
        assert not path.exists()
    with pytest.raises(KeyError):
        fail_in(atomically(path), "half")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.json"]


def test_a_folder_takes_the_place_of_another_in_one_step_and_not_on_an_error(tmp_path):
    place = tmp_path / "step"
    with folder_atomically(place) as partial:
        (partial / "one").write_text("1")
    with pytest.raises(KeyError):
        fail_in(folder_atomically(place), "2")
    assert os.listdir(place) == ["one"]
    with folder_atomically(place) as partial:
        (partial / "two").write_text("2")
    assert os.listdir(place) == ["two"]
    assert os.listdir(tmp_path) == ["step"]


def test_content_is_flushed_before_it_is_moved_and_the_move_after_it(tmp_path, monkeypatch):
    events = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda handle: (events.append("flush"), fsync(handle)))
    monkeypatch.setattr(files.os, "replace", lambda *paths: (events.append("move"), replace(*paths)))
    with atomically(tmp_path / "a") as partial:
        partial.write_text("x")
    assert events == ["flush", "move", "flush"]


def test_two_writers_of_one_file_do_not_share_a_partial_one(tmp_path):
    with atomically(tmp_path / "a") as first, atomically(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1", "the last to finish"


def test_a_folder_that_is_not_to_be_replaced_stays(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    with folder_atomically(place, replace=False) as partial:
        (partial / "new").write_text("1")
    assert os.listdir(place) == ["new"], "an empty folder gives way"
    with pytest.raises(OSError, match="not empty"):
        fill(folder_atomically(place, replace=False), "2")
    assert (place / "new").read_text() == "1"
    assert os.listdir(tmp_path) == ["model"]


def fill(writing, text):
    with writing as partial:
        (partial / "new").write_text(text)


def test_a_cache_may_leave_the_flush_out(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda handle: pytest.fail("flushed"))
    with atomically(tmp_path / "a", flush=False) as partial:
        partial.write_text("x")
    assert (tmp_path / "a").read_text() == "x"


def test_a_symbolic_link_stays_one_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "table", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomically(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert not target.is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "real", "table"]


def test_a_link_to_a_file_that_is_not_there_yet_begins_it(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "new")
    with atomically(link) as partial:
        partial.write_text("begun")
    assert link.is_symlink()
    assert (tmp_path / "new").read_text() == "begun"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_hands_on_its_permissions(tmp_path, mode):
    path = tmp_path / "table"
    path.write_text("old")
    path.chmod(mode)
    with atomically(path) as partial:
        partial.write_text("new")
    assert path.stat().st_mode & 0o777 == mode


def read_only(path):
    path.write_text("old")
    path.chmod(0o444)


def hard_link(path):
    path.write_text("old")
    path.with_name("other").hardlink_to(path)


def loop(path):
    path.symlink_to(path)


def link_into_nowhere(path):
    path.symlink_to(path.parent / "gone" / "file")


@pytest.mark.parametrize(
    ("put_in_the_way", "said"),
    [
        (lambda path: path.mkdir(), "is no file"),
        (read_only, "is read-only"),
        (hard_link, "has other names (hard links)"),
        (loop, "a symbolic link that leads nowhere"),
        (link_into_nowhere, "a symbolic link that leads nowhere"),
    ],
)
def test_what_is_not_to_be_replaced_is_named_and_stays(tmp_path, put_in_the_way, said):
    path = tmp_path / "file"
    put_in_the_way(path)
    before = sorted((p.name, p.lstat().st_ino) for p in tmp_path.iterdir())
    with pytest.raises(OSError, match=re.escape(said)) as error, atomically(path) as partial:
        partial.write_text("new")
    assert error.value.filename == str(path)
    assert sorted((p.name, p.lstat().st_ino) for p in tmp_path.iterdir()) == before


def test_a_pipe_or_a_device_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"whole")
    for name in ("pipe", "endless"):
        with pytest.raises(OSError, match="is no regular file"):
            read_regular(tmp_path / name)
        with pytest.raises(OSError, match="is no file, and is not replaced") as error, atomically(tmp_path / name):
            pass
        assert error.value.errno == errno.EINVAL, "it is no folder, and not to be called one"
    assert read_regular(tmp_path / "file") == b"whole"
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "gone")
