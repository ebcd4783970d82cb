"""The embedded engines keep what was acknowledged, and end when they should."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fileproc.dev import binaries
from fileproc.dev.engines import S3Server, Valkey, sweep
from fileproc.errors import EngineError


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """One that a test may kill."""
    engine = Valkey(tmp_path / "valkey")
    engine.start()
    yield engine
    engine.kill()


def connect(engine: Valkey) -> redis.Redis:
    return redis.Redis.from_url(engine.url, retry=Retry(NoBackoff(), 0), decode_responses=True)


def test_valkey_keeps_what_it_acknowledged_when_it_is_killed(own_valkey: Valkey) -> None:
    with connect(own_valkey) as client:
        for number in range(200):
            client.rpush("list", number)
    own_valkey.kill()
    own_valkey.start()
    with connect(own_valkey) as client:
        assert client.llen("list") == 200


def test_valkey_keeps_its_address_and_password_over_a_restart(own_valkey: Valkey) -> None:
    before = own_valkey.url, own_valkey.pid
    own_valkey.restart()
    assert own_valkey.url == before[0]
    assert own_valkey.pid != before[1]


def test_valkey_is_as_durable_as_production(valkey: Valkey) -> None:
    with connect(valkey) as client:
        config = client.config_get("*")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "always"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["hash-max-listpack-value"] == "4096"
    assert config["bind"] == "127.0.0.1"


def test_valkey_refuses_who_has_no_password(valkey: Valkey) -> None:
    with (
        redis.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_secrets_are_for_their_owner_alone(valkey: Valkey, s3_server: S3Server) -> None:
    for path in (
        valkey.folder / "password",
        valkey.folder / "valkey.conf",
        s3_server.folder / "access_key",
        s3_server.folder / "secret_key",
    ):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_secrets_are_not_in_the_process_list(valkey: Valkey, s3_server: S3Server) -> None:
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    for secret in (valkey.url.split(":")[2].split("@")[0], s3_server.secret_key):
        assert not any(secret.encode() in line for line in lines)


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def test_valkey_on_a_taken_port_says_what_its_log_says(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        engine = Valkey(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(EngineError, match="Address already in use"):
            engine.start()
    assert not engine.running


def test_valkey_with_a_damaged_file_says_so(tmp_path: Path) -> None:
    engine = Valkey(tmp_path)
    engine.start()
    engine.stop()
    (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(
        b"*9\r\nnonsense\r\n" * 9
    )
    with pytest.raises(EngineError, match=r"(?i)bad file format"):
        engine.start()
    assert not engine.running


def test_sweep_removes_what_a_killed_rclone_left_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / "files"
    folder.mkdir(parents=True)
    for name in (".rclone_temp_put_x", ".rclone_multipart_upload_y", "file_1", ".hidden"):
        (folder / name).write_bytes(b"x")
    assert sweep(tmp_path) == 2
    assert sorted(os.listdir(folder)) == [".hidden", "file_1"]  # noqa: PTH208 - names only


def test_engines_fall_back_to_programs_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(binaries, "_in_wheel", lambda *_: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"fileproc\[dev\]"):
        binaries.find_valkey()
    with pytest.raises(EngineError, match=r"fileproc\[dev\]"):
        binaries.find_rclone()
    for name in ("redis-server", "rclone"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    assert binaries.find_valkey() == tmp_path / "redis-server"
    assert binaries.find_rclone() == tmp_path / "rclone"
