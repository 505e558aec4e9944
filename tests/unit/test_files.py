"""Files and folders that are written whole or not at all, whatever ends the writer."""

import os
from pathlib import Path

import pytest

from rmsweep import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_at_the_end_of_the_block_and_nothing_else_is(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with files.whole(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old", "readers see the old file until the new one is whole"
        assert unfinished.parent == tmp_path and unfinished.name[0] == "."
        assert unfinished.name.endswith(f".{files.writer(os.getpid())}")
    assert path.read_text() == "new" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("kind", ["whole", "whole_folder"])
def test_an_error_in_the_block_leaves_what_was_there(tmp_path, kind):
    old = tmp_path / "a"
    old.mkdir()
    (old / "inner").write_text("old")
    for path in (old, tmp_path / "b"):
        with pytest.raises(KeyboardInterrupt), getattr(files, kind)(path) as unfinished:
            (unfinished / "half" if kind == "whole_folder" else unfinished).write_text("half")
            raise KeyboardInterrupt
    assert names(tmp_path) == ["a"] and (old / "inner").read_text() == "old"


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_target(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), files.whole(path):
        pass
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_folder_that_takes_no_file_raises_what_the_system_says():
    for kind in (files.whole, files.whole_folder):
        with pytest.raises(OSError), kind(Path("/proc/rmsweep")) as unfinished:
            unfinished.write_text("")


def test_a_target_that_cannot_be_replaced_stays_and_nothing_is_left(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), files.whole(tmp_path / "a") as unfinished:
        unfinished.write_text("new")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").is_dir()


def test_two_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with files.whole(path) as first:
        first.write_text("first")
        with files.whole(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        with pytest.raises(OSError), files.whole(path) as third:
            third.write_text("third")
            raise OSError
        assert first.read_text() == "first", "another's error removes only its own file"
    assert path.read_text() == "first", "the last to end is what stays"
    assert names(tmp_path) == ["a"]


def test_a_folder_replaces_one_that_is_there(tmp_path):
    for text in ("old", "new"):
        with files.whole_folder(tmp_path / "a") as unfinished:
            (unfinished / text).write_text(text)
        assert names(tmp_path) == ["a"] and names(tmp_path / "a") == [text]


def test_the_longest_name_leaves_room_for_the_unfinished_one(tmp_path):
    path = tmp_path / ("ü" * (files.MOST_BYTES // 2))
    with files.whole(path) as unfinished:
        unfinished.write_text("")
    assert path.is_file() and len(os.fsencode(unfinished.name)) <= 255
