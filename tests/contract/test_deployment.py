"""What is shipped beside the package agrees with it: image, locks, compose, workflow, pages."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped] # comes with yamllint, without stubs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fileproc
from fileproc.dev.binaries import find_valkey
from fileproc.dev.processes import Child, free_port
from fileproc.objects import open_object_store
from fileproc.settings import Settings, variables
from fileproc.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fileproc.store import Store

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / "docker/requirements.lock", ROOT / "docker/build.lock"]
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?([^}]*))?\}")
SETTINGS = {variable for name in Settings.model_fields for variable in variables(name)}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    return loaded


def resolved(text: str) -> str:
    """As Compose reads it with an empty environment."""
    return VARIABLE.sub(lambda found: found[2] or "", text)


def pins(lock: Path) -> dict[str, str]:
    """Name to version; where markers choose between two versions, the newer."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_lock_covers_the_dependencies_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = pins(LOCKS[0])
    for text in project["project"]["dependencies"]:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        assert name in locked, "run `make lock`"
        assert wanted.specifier.contains(locked[name]), "run `make lock`"
    built_by = [Requirement(text) for text in project["build-system"]["requires"]]
    for wanted in built_by:
        assert wanted.specifier.contains(pins(LOCKS[1])[wanted.name]), "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_has_a_hash_for_each_pin_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index-url" not in text
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)):
        assert "--hash=sha256:" in entry


def test_no_file_names_the_host_of_a_registry() -> None:
    host = re.compile(r"\b(pypi|pythonhosted|ghcr|quay|gcr|docker)\.(org|io|com)\b")
    shipped = [*ROOT.glob("docker/*"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.yml")]
    for path in [*shipped, ROOT / "compose.yaml", ROOT / ".env.example", ROOT / "pyproject.toml"]:
        if path.is_file():
            assert not host.search(path.read_text()), path.name


def test_clients_from_npm_are_locked_without_the_name_of_a_registry() -> None:
    folder = ROOT / "tests" / "clients"
    asked = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == asked
    assert {name: locked[f"node_modules/{name}"]["version"] for name in asked} == asked
    for name, entry in locked.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name


def test_every_variable_that_compose_hands_over_is_a_setting(compose: dict[str, Any]) -> None:
    for service in ("api", "worker", "bucket"):
        for variable in compose["services"][service]["environment"]:
            known = variable in SETTINGS or variable.removesuffix("_FILE") in SETTINGS
            assert known, f"{service}: {variable}"


def test_defaults_in_compose_are_those_of_the_settings_where_nothing_else_is_said(
    compose: dict[str, Any],
) -> None:
    """Named here are those that differ on purpose."""
    differ = {"FILEPROC_CONCURRENCY", "FILEPROC_MAX_MEMORY_BYTES", "FILEPROC_S3_ENDPOINT"}
    differ |= {"FILEPROC_S3_PUBLIC_ENDPOINT"}
    fields = {variables(name)[0]: field for name, field in Settings.model_fields.items()}
    for service in ("api", "worker"):
        for variable, value in compose["services"][service]["environment"].items():
            if not variable.endswith("_FILE") and variable not in differ:
                default = fields[variable].default  # None: what is empty is not set
                assert resolved(value) == ("" if default is None else str(default)), variable


def test_env_example_lists_what_compose_reads_with_its_defaults() -> None:
    text = (ROOT / "compose.yaml").read_text()
    read = {name: default or "" for name, default, _ in VARIABLE.findall(text)}
    example = (ROOT / ".env.example").read_text()
    assert dict(re.findall(r"^#(\w+)=(.*)$", example, re.MULTILINE)) == read


def test_every_service_is_confined_and_demands_the_secrets(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert "limits" in service["deploy"]["resources"], name
        if name != "volumes":  # it gives the storage's volume away, which only root can
            assert VARIABLE.findall(service["user"])[0][2] == "run `make secrets` first", name


def test_roles_have_longer_to_stop_than_their_jobs_have(compose: dict[str, Any]) -> None:
    grace_s = Settings.model_fields["grace_s"].default
    for role in ("api", "worker"):
        assert int(compose["services"][role]["stop_grace_period"].removesuffix("s")) > grace_s


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_image_has_the_version_of_the_package(compose: dict[str, Any]) -> None:
    for role in ("api", "worker", "bucket"):
        assert resolved(compose["services"][role]["image"]) == f"fileproc:{fileproc.__version__}"
    assert f"ARG VERSION={fileproc.__version__}\n" in (ROOT / "docker/Dockerfile").read_text()


def test_image_runs_as_a_number_other_than_root() -> None:
    users = re.findall(r"^USER (.*)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    assert users == ["10001:10001"]


async def test_bucket_service_makes_the_bucket(compose: dict[str, Any], settings: Settings) -> None:
    service = compose["services"]["bucket"]
    assert service["entrypoint"] == ["python", "-c"]
    environment = {
        "PATH": os.environ["PATH"],
        "FILEPROC_S3_ENDPOINT": settings.s3_endpoint or "",
        "FILEPROC_S3_BUCKET": settings.s3_bucket,
        "AWS_ACCESS_KEY_ID": _reveal(settings.s3_access_key_id),
        "AWS_SECRET_ACCESS_KEY": _reveal(settings.s3_secret_access_key),
    }
    command = [sys.executable, "-c", *service["command"]]
    for _ in range(2):  # every `docker compose up` runs it again
        subprocess.run(command, env=environment, check=True, timeout=60)  # noqa: ASYNC221 - nothing else runs
    async with open_object_store(settings) as objects:
        await objects.check()


def _reveal(secret: Any) -> str:
    return str(secret.get_secret_value())


@pytest.fixture
def configured_valkey(tmp_path: Path) -> Iterator[str]:
    """URL of a server with the configuration that compose mounts."""
    port = free_port("127.0.0.1")
    command = [str(find_valkey()), str(ROOT / "docker/valkey.conf"), "--port", str(port)]
    command += ["--bind", "127.0.0.1", "--dir", str(tmp_path)]
    server = Child("Valkey", command, log=tmp_path / "log")
    server.start()
    deadline = time.monotonic() + 20
    while "Ready to accept connections" not in server.said():
        assert server.running, server.said()
        assert time.monotonic() < deadline, server.said()
        time.sleep(0.02)
    yield f"redis://127.0.0.1:{port}/0"
    server.stop()


async def test_redis_is_configured_to_lose_nothing(
    configured_valkey: str, settings: Settings
) -> None:
    own = settings.model_copy(update={"redis_url": type(settings.redis_url)(configured_valkey)})
    async with open_store(own) as store:
        health = await store.health()
    assert health.durable
    assert health.maxmemory_policy == "noeviction"
    assert health.warnings == []


def make_secrets(folder: Path) -> str:
    (folder / "docker").mkdir(exist_ok=True)
    script = shutil.copy(ROOT / "docker/make-secrets.sh", folder / "docker")
    done = subprocess.run(["sh", script], check=True, capture_output=True, text=True)
    return done.stdout


def test_secrets_are_made_once_for_their_owner_only(
    tmp_path: Path, compose: dict[str, Any]
) -> None:
    make_secrets(tmp_path)
    files = sorted(tmp_path.glob("secrets/*"))
    assert {f"secrets/{path.name}" for path in files} == {
        secret["file"] for secret in compose["secrets"].values()
    }
    numbers = dict(line.split("=") for line in (tmp_path / ".env").read_text().split())
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == int(numbers["FILEPROC_UID"]) != 0
    before = {path: path.read_text() for path in [*files, tmp_path / ".env"]}
    assert "made" not in make_secrets(tmp_path)
    assert {path: path.read_text() for path in before} == before


async def test_first_admin_key_is_one_that_the_store_takes(tmp_path: Path, store: Store) -> None:
    make_secrets(tmp_path)
    token = (tmp_path / "secrets/admin_key").read_text().strip()
    await store.keys.ensure_admin(token)
    info = await store.keys.authenticate(token)
    assert info is not None
    assert info.role == "admin"


def test_image_check_says_what_is_missing_and_ends_with_3(tmp_path: Path) -> None:
    dirname = shutil.which("dirname")
    assert dirname is not None
    (tmp_path / "dirname").symlink_to(dirname)
    script = ["/bin/sh", str(ROOT / "docker/image-check.sh")]
    done = subprocess.run(
        script, env={"PATH": str(tmp_path)}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "buildah is not installed" in done.stderr


def test_actions_are_pinned_by_commit_with_their_version_beside() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in uses)


def test_workflow_tests_against_the_images_of_compose(
    compose: dict[str, Any], workflow: dict[str, Any]
) -> None:
    services = workflow["jobs"]["services"]["services"]
    assert services["redis"]["image"] == resolved(compose["services"]["redis"]["image"])
    assert services["s3"]["image"] == resolved(compose["services"]["minio"]["image"])


def test_one_job_of_the_workflow_stands_for_all(workflow: dict[str, Any]) -> None:
    jobs = workflow["jobs"]
    assert set(jobs["check"]["needs"]) == set(jobs) - {"check"}
    assert ("success " * len(jobs["check"]["needs"])).strip() in str(jobs["check"]["steps"])


@pytest.mark.parametrize("page", ["architecture", "attacks", "settings"])
def test_what_a_page_takes_from_the_code_is_up_to_date(page: str) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    written = (ROOT / f"docs/{page}.md").read_text()
    assert written == generate.PAGES[page](), "run `make pages`"
