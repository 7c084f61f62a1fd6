"""Claims about files and folders that appear whole or not at all."""

import os

import pytest

from antipasto import files
from antipasto.files import atomically, folder_atomically


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
