"""One supervisor at a time over a data folder; keys can be made with it or without it."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fileproc.dev.folder import DataFolder
from fileproc.errors import EngineError


def answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    with DataFolder(tmp_path), pytest.raises(EngineError, match=r"in use by another.*--data"):
        DataFolder(tmp_path).__enter__()
    with DataFolder(tmp_path):  # free again
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="cannot be used: Not a directory"):
        DataFolder(tmp_path / "file" / "data").__enter__()


def test_what_is_announced_is_private_and_ends_with_its_user(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as folder:
        folder.announce({"FILEPROC_REDIS_URL": "redis://:secret@127.0.0.1:1/0"})
        assert folder.environment_file.stat().st_mode & 0o777 == 0o600
        assert folder.path.stat().st_mode & 0o777 == 0o700
        with DataFolder(tmp_path / "data").redis_url() as url:
            assert url == "redis://:secret@127.0.0.1:1/0"
        assert folder.environment_file.exists()
    assert not folder.environment_file.exists()


def test_a_folder_in_use_whose_engines_are_not_up_asks_for_patience(tmp_path: Path) -> None:
    with (
        DataFolder(tmp_path),
        pytest.raises(EngineError, match="not up yet"),
        DataFolder(tmp_path).redis_url(),
    ):
        pass


def test_an_unused_folder_starts_its_job_store_for_as_long_as_it_is_needed(tmp_path: Path) -> None:
    with DataFolder(tmp_path).redis_url() as url:
        assert answers(url)
        with pytest.raises(EngineError, match="in use"):
            DataFolder(tmp_path).__enter__()
    assert not answers(url)
    with DataFolder(tmp_path):
        pass
