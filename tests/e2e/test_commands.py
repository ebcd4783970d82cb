"""What a person at a shell meets: help, settings, complaints, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from fileproc import __version__
from support.commands import ROOT, run


@pytest.mark.parametrize(
    "command",
    [(), ("api",), ("worker",), ("dev",), ("demo",), ("keys",), ("operations",), ("config",)],
    ids=lambda command: " ".join(command) or "fileproc",
)
def test_help_has_examples(command: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Examples:\n" in done.stdout
    assert "..." not in done.stdout.replace("[ARGS]...", "")  # nothing is cut off


def test_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"fileproc {__version__}\n"


def test_an_unknown_command_is_exit_status_2(tmp_path: Path) -> None:
    done = run("explode", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command 'explode'" in done.stderr


def test_config_shows_settings_from_everywhere_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FILEPROC_PORT=8123\nFILEPROC_BEAT_S=2\n", encoding="utf-8")
    (tmp_path / "secret").write_text("hidden-key\n", encoding="utf-8")
    done = run(
        "config",
        "--json",
        cwd=tmp_path,
        settings={
            "FILEPROC_REDIS_URL": "rediss://user:hidden-word@redis.internal:6380/2",
            "FILEPROC_BEAT_S": "2.5",
            "AWS_ACCESS_KEY_ID": "hidden-id",
            "AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret"),
        },
    )
    assert done.returncode == 0, done.stderr
    assert "hidden" not in done.stdout
    shown = json.loads(done.stdout)
    assert shown["FILEPROC_REDIS_URL"] == "rediss://user:********@redis.internal:6380/2"
    assert shown["AWS_SECRET_ACCESS_KEY"] == "********"
    assert (shown["FILEPROC_PORT"], shown["FILEPROC_BEAT_S"]) == ("8123", "2.5")


def test_config_is_a_table_with_a_meaning_for_each_setting(tmp_path: Path) -> None:
    lines = run("config", cwd=tmp_path).stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "MEANING"]
    assert all(len(line.split(maxsplit=2)) == 3 for line in lines)


def test_config_tells_of_variables_that_are_no_settings(tmp_path: Path) -> None:
    """Set in vain, they would be noticed when it matters."""
    given = {"FILEPROC_DOWNLOAD": "proxy", "FILEPROC_KEY": "fp_x", "FILEPROC_CLAMD_FILE": ""}
    said = run("config", cwd=tmp_path, settings=given).stderr
    assert said == "FILEPROC_DOWNLOAD is no setting: FILEPROC_DOWNLOADS?\n"


@pytest.mark.parametrize("command", ["config", "api", "worker", "dev"])
def test_every_complaint_comes_at_once_without_a_traceback(command: str, tmp_path: Path) -> None:
    done = run(
        command,
        cwd=tmp_path,
        settings={
            "FILEPROC_PORT": "many",
            "FILEPROC_AUTH": "maybe",
            "FILEPROC_REDIS_URL": "http://secret@nowhere",
        },
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    for name in ("FILEPROC_PORT", "FILEPROC_AUTH", "FILEPROC_REDIS_URL"):
        assert f"fileproc: {name}: " in done.stderr
    assert not (tmp_path / "data").exists()


def test_an_option_wins_over_the_environment_and_is_checked_as_well(tmp_path: Path) -> None:
    done = run(
        "worker", "--concurrency", "lots", cwd=tmp_path, settings={"FILEPROC_CONCURRENCY": "2"}
    )
    assert done.returncode == 2
    assert "FILEPROC_CONCURRENCY: 'lots' is not a positive number of slots" in done.stderr


def test_operations_are_a_table_and_json(tmp_path: Path) -> None:
    lines = run("operations", "list", cwd=tmp_path).stdout.splitlines()
    assert lines[0].split() == ["OPERATION", "LANE", "NEEDS", "SUMMARY"]
    names = [line.split()[0] for line in lines[1:]]
    assert {"archive.create", "image.resize", "pdf.split", "table.query"} <= set(names)
    assert names == sorted(names)
    listed = json.loads(run("operations", "list", "--json", cwd=tmp_path).stdout)
    assert [entry["name"] for entry in listed] == names
    assert not any(name.startswith("debug.") for name in names)


def test_operation_is_shown_with_all_that_a_job_needs(tmp_path: Path) -> None:
    settings = {"FILEPROC_JOB_TIMEOUT_S": "77", "FILEPROC_MAX_INPUTS": "7"}
    shown = run("operations", "show", "pdf.merge", cwd=tmp_path, settings=settings).stdout
    assert shown.startswith("pdf.merge: Merge PDFs")
    for part in ("Takes", "1 to 7 in one job", "at most 77 s", "bookmarks: ", "by default"):
        assert part in shown
    assert "page_out_of_range" in shown.partition("A job can fail with")[2]
    assert 'curl -T FILE.pdf "$FILEPROC_URL/v1/jobs/pdf.merge?' in shown
    assert "-F file=@FILE.pdf -F file=@OTHER.pdf" in shown
    assert max(map(len, shown.partition("\nExample")[0].splitlines())) <= 100

    done = run("operations", "show", "pdf.merge", "--json", cwd=tmp_path, settings=settings)
    told = json.loads(done.stdout)
    assert (told["timeout_s"], told["max_inputs"]) == (77, 7)
    assert set(told["example"]) <= set(told["params_schema"]["properties"])


def test_operation_that_needs_what_is_not_there_is_shown_and_not_listed(tmp_path: Path) -> None:
    shown = run("operations", "show", "file.scan", cwd=tmp_path).stdout
    assert "Needs  clamd" in shown
    assert "Not offered here: it needs ClamAV's daemon" in shown
    listed = run("operations", "list", cwd=tmp_path)
    assert "file.scan" not in listed.stdout
    assert "Not offered here: file.scan, which needs ClamAV's daemon" in listed.stderr
    configured = {"FILEPROC_CLAMD": "127.0.0.1:3310"}
    assert "file.scan" in run("operations", "list", cwd=tmp_path, settings=configured).stdout
    there = run("operations", "show", "file.scan", cwd=tmp_path, settings=configured).stdout
    assert "Not offered" not in there


@pytest.mark.parametrize(
    ("options", "code", "missing"),
    [
        (["-S", "-m", "fileproc", "operations", "list"], "", "click"),
        (["-c"], "sys.modules['uvloop'] = None", "uvloop"),
    ],
)
def test_package_that_is_not_installed_is_a_sentence(
    options: list[str], code: str, missing: str
) -> None:
    if code:
        argv = ["fileproc", "api"]
        start = f"import runpy, sys; {code}; sys.argv = {argv}"
        options = [*options, f"{start}; runpy.run_module('fileproc', run_name='__main__')"]
    done = subprocess.run(
        [sys.executable, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"fileproc: The package {missing} is not installed for")
    assert ".venv/bin/python -m fileproc" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_operation_that_there_is_not_is_a_sentence(tmp_path: Path) -> None:
    done = run("operations", "show", "image.enlarge", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "fileproc: There is no operation 'image.enlarge'. See `python -m fileproc operations"
        " list`.\n"
    )


def test_keys_without_redis_is_a_sentence(tmp_path: Path) -> None:
    done = run("keys", "ls", cwd=tmp_path, settings={"FILEPROC_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert done.returncode == 1
    assert done.stderr.startswith("fileproc: Redis does not answer")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("away", ["redis", "storage"])
def test_a_rebuild_without_an_engine_says_which_and_why(
    away: str, valkey: Any, s3_server: Any, tmp_path: Path
) -> None:
    settings = {
        "FILEPROC_REDIS_URL": "redis://127.0.0.1:1/0" if away == "redis" else valkey.url,
        "FILEPROC_REDIS_PREFIX": f"{{{away}}}:",
        "FILEPROC_S3_ENDPOINT": "http://127.0.0.1:1" if away == "storage" else s3_server.endpoint,
        "FILEPROC_S3_ACCESS_KEY_ID": s3_server.access_key,
        "FILEPROC_S3_SECRET_ACCESS_KEY": s3_server.secret_key,
    }
    done = run("rebuild", "--dry-run", cwd=tmp_path, settings=settings)
    assert done.returncode == 1
    *reasons, sentence = done.stderr.splitlines()
    names = {"redis": "Redis does", "storage": "The object storage does"}
    assert sentence.startswith(f"fileproc: {names[away]} not answer, or refuses us: see ")
    assert "run it again" in sentence
    assert any("call failed" in reason for reason in reasons)
    assert "Traceback" not in done.stderr


def test_healthcheck_of_what_does_not_run_is_exit_status_1(tmp_path: Path) -> None:
    for role in ("api", "worker"):
        port = {"FILEPROC_PORT": "1", "FILEPROC_WORKER_PORT": "1"}
        done = run("healthcheck", "--role", role, cwd=tmp_path, settings=port)
        assert done.returncode == 1
        assert f"The {role} at 127.0.0.1:1 does not answer" in done.stderr


@pytest.mark.parametrize("expires", ["soon", "0d", "-1d", "90", "d"])
def test_an_expiry_that_is_no_time_is_refused(expires: str, tmp_path: Path) -> None:
    done = run("keys", "create", "--owner", "me", f"--expires={expires}", cwd=tmp_path)
    assert done.returncode == 2
    assert "such as 90d" in done.stderr


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    made = run(
        *("keys", "create", "--owner", "shop", "--label", "orders", "--expires", "90d"),
        *data,
        cwd=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert token.startswith("fp_")
    assert len(made.stdout.splitlines()) == 1
    assert token not in made.stderr
    assert "not shown again" in made.stderr

    listed = run("keys", "ls", "--json", *data, cwd=tmp_path)
    [key] = json.loads(listed.stdout)
    assert (key["owner"], key["role"], key["label"]) == ("shop", "user", "orders")
    assert (key["state"], key["revoked_at"]) == ("live", None)
    assert key["expires_at"].endswith("Z")
    assert token.split("_", 2)[2] not in listed.stdout
    for kept in (tmp_path / "data").rglob("*.aof"):  # only a hash is kept
        assert token.split("_", 2)[2].encode() not in kept.read_bytes()

    turned = run("keys", "rotate", key["id"], "--overlap", "12h", *data, cwd=tmp_path)
    assert turned.returncode == 0, turned.stderr
    assert turned.stdout.startswith(f"fp_{key['id']}_")
    assert turned.stdout != made.stdout
    assert "The secret before is valid until" in turned.stderr
    looking = run(
        *("keys", "create", "--owner", "shop", "--role", "viewer", "--json"),
        *("--scope", "operation:image.*", "--scope", "template:thumbs", *data),
        cwd=tmp_path,
    )
    viewer = json.loads(looking.stdout)
    assert (viewer["role"], viewer["scopes"]) == (
        "viewer",
        ["operation:image.*", "template:thumbs"],
    )
    assert viewer["token"].startswith(f"fp_{viewer['id']}_")
    mine = run("keys", "ls", "--owner", "nobody", "--json", *data, cwd=tmp_path)
    assert json.loads(mine.stdout) == []

    assert run("keys", "revoke", key["id"], *data, cwd=tmp_path).returncode == 0
    table = run("keys", "ls", *data, cwd=tmp_path).stdout
    assert "revoked" in table
    missing = run("keys", "revoke", "000000000000", *data, cwd=tmp_path)
    assert missing.returncode == 1
    assert "There is no key 000000000000" in missing.stderr


def test_an_owner_that_cannot_be_is_refused(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    done = run("keys", "create", "--owner", "no/such", *data, cwd=tmp_path)
    assert done.returncode == 1
    assert "owner 'no/such' is not valid" in done.stderr


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_role_refuses_data_of_a_newer_version(
    role: str, valkey: Any, s3_server: Any, tmp_path: Path
) -> None:
    prefix = f"{{new{role}}}:"
    with redis.Redis.from_url(valkey.url) as client:
        client.set(f"{prefix}schema", 99)
    settings = {
        "FILEPROC_REDIS_URL": valkey.url,
        "FILEPROC_REDIS_PREFIX": prefix,
        "AWS_ENDPOINT_URL_S3": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "FILEPROC_S3_BUCKET": f"new-{role}",
        "FILEPROC_PORT": "0",
        "FILEPROC_WORKER_PORT": "0",
    }
    done = run(role, cwd=tmp_path, settings=settings)
    assert done.returncode == 1
    assert "version 99" in done.stderr
    assert "Traceback" not in done.stderr
