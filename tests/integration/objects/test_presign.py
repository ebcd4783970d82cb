from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import botocore.auth
import pytest
from aiohttp.multipart import content_disposition_filename, parse_content_disposition
from yarl import URL

from fileproc.errors import StorageUnavailableError
from fileproc.objects import ObjectStore, open_object_store
from fileproc.objects.names import clean_name, content_disposition
from fileproc.objects.s3 import open_clients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from fileproc.settings import Settings

DATA = b"the result" * 1000


async def once() -> AsyncIterator[bytes]:
    yield DATA


@pytest.fixture
async def stored(objects: ObjectStore, key: str) -> str:
    await objects.put_stream(key, once(), content_type="text/html")
    return key


async def fetch(url: str) -> tuple[int, Mapping[str, str], bytes]:
    as_signed = URL(url, encoded=True)  # not to be quoted anew
    async with aiohttp.ClientSession() as session, session.get(as_signed) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize(
    "name",
    [
        "photo.webp",
        "Prüfung 漢字 🙂.pdf",
        'say "hello".txt',
        "a;b=c; filename=evil.exe",
        "evil\r\nSet-Cookie: session=1",
        "invoice\u202efdp.exe",
        "100%25 + &=?#.txt",
        "../../etc/passwd",
        "n" * 5000 + ".tiff",
        "漢" * 5000,
        "",
    ],
)
async def test_a_plain_client_gets_the_bytes_under_their_name(
    objects: ObjectStore, stored: str, name: str
) -> None:
    url = await objects.presign_get(stored, name=name, content_type="image/webp", ttl_s=60)
    assert len(url) < 4096
    status, headers, body = await fetch(url)
    assert (status, body) == (200, DATA)
    assert headers["Content-Type"] == "image/webp"
    assert "Set-Cookie" not in headers
    kind, params = parse_content_disposition(headers["Content-Disposition"])
    assert kind == "attachment"
    assert content_disposition_filename(params) == clean_name(name)


async def test_only_harmless_types_are_shown(objects: ObjectStore, stored: str) -> None:
    for content_type, kind in (("image/png", "inline"), ("text/html", "attachment")):
        url = await objects.presign_get(
            stored, name="x", content_type=content_type, ttl_s=60, inline=True
        )
        _, headers, _ = await fetch(url)
        assert headers["Content-Disposition"].startswith(kind + ";")


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("image%2Fwebp", "text%2Fhtml"),
        ("attachment", "inline"),
        ("X-Amz-Expires=60", "X-Amz-Expires=99999"),
        ("file_under_test", "file_of_another"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
    ],
)
async def test_a_tampered_url_is_refused(
    objects: ObjectStore, stored: str, what: str, instead: str
) -> None:
    url = await objects.presign_get(stored, name="x", content_type="image/webp", ttl_s=60)
    assert what in url
    status, _, body = await fetch(url.replace(what, instead))
    assert status == 403
    assert DATA not in body


async def test_an_expired_url_is_refused(
    objects: ObjectStore, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = datetime.now(UTC) - timedelta(seconds=120)
    with monkeypatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: then)
        old = await objects.presign_get(stored, name="x", content_type="image/webp", ttl_s=60)
        young = await objects.presign_get(stored, name="x", content_type="image/webp", ttl_s=600)
    assert (await fetch(young))[0] == 200
    status, _, body = await fetch(old)
    assert status in {400, 403}  # rclone says 400 AccessDenied, everybody else 403
    assert DATA not in body


async def test_urls_name_the_public_endpoint(settings: Settings, stored: str) -> None:
    public = settings.model_copy(update={"s3_public_endpoint": "https://files.example.com:8443"})
    async with open_object_store(public) as objects:
        url = await objects.presign_get(stored, name="x", content_type="image/png", ttl_s=60)
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "files.example.com:8443")
    assert parts.path == f"/{settings.s3_bucket}/{stored}"
    assert str(settings.s3_endpoint) not in url


async def test_virtual_hosts_are_a_setting(settings: Settings, stored: str) -> None:
    virtual = settings.model_copy(
        update={"s3_public_endpoint": "https://s3.example.com", "s3_addressing": "virtual"}
    )
    async with open_object_store(virtual) as objects:
        url = await objects.presign_get(stored, name="x", content_type="image/png", ttl_s=60)
    assert url.startswith(f"https://{settings.s3_bucket}.s3.example.com/{stored}?")


@pytest.mark.parametrize(
    ("endpoint", "addressing"),
    [
        ("https://files.example.com:8443", "path"),
        ("https://S3.Example.com:443", "virtual"),
        ("http://[::1]:9000/below/this", "path"),
        (None, "auto"),
    ],
)
@pytest.mark.parametrize("token", [None, "a/b+c=="])
async def test_urls_are_those_that_botocore_makes(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str | None,
    addressing: str,
    token: str | None,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK/ID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    if token is not None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    nobody = {"s3_access_key_id": None, "s3_secret_access_key": None}
    chosen = settings.model_copy(
        update={
            **nobody,
            "s3_endpoint": endpoint,
            "s3_public_endpoint": None,
            "s3_addressing": addressing,
            "s3_region": "eu-central-1",
            "s3_bucket": "results-of-jobs",
        }
    )
    now = datetime.now(UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now)
    async with open_object_store(chosen) as objects, open_clients(chosen) as clients:
        for name in ("plain.webp", "Pr\u00fcfung \u6f22\u5b57 ~*'()!.pdf", "100%25 + &=?#/.txt"):
            ours = await objects.presign_get(
                "attempts/job_x/1-ab/0", name=name, content_type="image/svg+xml", ttl_s=77
            )
            theirs = await clients.signer.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": "results-of-jobs",
                    "Key": "attempts/job_x/1-ab/0",
                    "ResponseContentType": "image/svg+xml",
                    "ResponseContentDisposition": content_disposition(name),
                },
                ExpiresIn=77,
            )
            assert ours == theirs
            assert ("X-Amz-Security-Token" in ours) == (token is not None)


async def test_without_credentials_nothing_is_signed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nobody = settings.model_copy(update={"s3_access_key_id": None, "s3_secret_access_key": None})
    async with open_object_store(nobody) as objects:
        for _ in range(2):
            with pytest.raises(StorageUnavailableError):
                await objects.presign_get("files/x", name="x", content_type="a/b", ttl_s=60)
