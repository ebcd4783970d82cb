"""Measuring and removing a scratch folder, whatever was left in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fileproc.worker.sandbox.scratch import MAX_DEPTH, Unreasonable, remove_scratch, used_bytes

KIB = 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "attempt"
    path.mkdir()
    return path


def test_files_in_all_folders_are_counted(folder: Path) -> None:
    (folder / "a").write_bytes(b"x" * 100 * KIB)
    (folder / "below").mkdir()
    (folder / "below" / "b").write_bytes(b"x" * 50 * KIB)
    # The folder itself, which is an entry as well, has a few blocks at most.
    assert 150 * KIB <= used_bytes(folder) <= 180 * KIB


def test_a_hole_counts_as_much_as_data(folder: Path) -> None:
    with (folder / "sparse").open("wb") as file:
        file.truncate(10**9)
    assert used_bytes(folder) >= 10**9


def test_a_symlink_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 1000 * KIB)
    (folder / "link").symlink_to(tmp_path / "big")
    assert used_bytes(folder) < 100 * KIB


def test_deleted_files_that_are_open_are_counted(folder: Path) -> None:
    with (folder / "gone").open("wb") as file:
        file.write(b"x" * 500 * KIB)
        file.flush()
        (folder / "gone").unlink()
        assert used_bytes(folder) < 100 * KIB
        assert used_bytes(folder, [os.getpid()]) >= 500 * KIB


def test_an_absent_folder_is_empty(folder: Path) -> None:
    folder.rmdir()
    assert used_bytes(folder) == 0


def test_deep_folders_have_an_end(folder: Path) -> None:
    path = folder.joinpath(*["d"] * (MAX_DEPTH + 3))
    path.mkdir(parents=True)
    with pytest.raises(Unreasonable):
        used_bytes(folder)


def test_everything_is_removed(folder: Path) -> None:
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "file").touch()
    (folder / "a" / "b" / "c" / "file").touch()
    (folder / "link").symlink_to("/nowhere")
    (folder / "a").chmod(0o300)
    (folder / "a" / "b").chmod(0)
    folder.chmod(0)
    remove_scratch(folder)
    assert not folder.exists()


def test_removing_does_not_follow_a_link_to_a_folder(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    (folder / "link").symlink_to(other)
    remove_scratch(folder)
    assert (other / "kept").exists()


def test_removing_twice_is_fine(folder: Path) -> None:
    remove_scratch(folder)
    remove_scratch(folder)
