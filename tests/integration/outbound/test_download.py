"""Fetching from servers that are not on our side."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from fileproc.errors import ErrorClass, JobError
from fileproc.outbound import Room, open_download, open_outbound
from fileproc.settings import Settings
from support import origin as bad
from support.origin import Origin, ok, serving_files, to

MIB = 1 << 20


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with serving_files() as opened:
        yield opened


def of(**others: object) -> Settings:
    given = {
        "outbound_ports": "1-65535",
        "outbound_allow": "127.0.0.1/32",
        "outbound_connect_s": 50,
        "outbound_idle_s": 50,
        "import_unpacked_bytes": 8 * MIB,
        "import_redirects": 3,
        **others,
    }
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]  # pydantic's own


async def fetched(
    url: str, *, most: int = 4 * MIB, within_s: float = 20, **others: object
) -> bytes:
    async with (
        asyncio.timeout(within_s),
        open_outbound(of(**others)) as outbound,
        open_download(outbound, url) as download,
    ):
        return b"".join([chunk async for chunk in download.chunks(Room(most))])


async def refused(url: str, **others: object) -> tuple[str, ErrorClass]:
    with pytest.raises(JobError) as caught:
        await fetched(url, **others)  # type: ignore[arg-type]  # passed on
    assert url not in caught.value.detail
    assert "127.0.0.1" not in caught.value.detail
    return caught.value.job_code, caught.value.job_class


async def test_a_file_comes_as_it_is(origin: Origin) -> None:
    content = bytes(range(256)) * 4096
    url = origin.serves("/a.bin", ok(content))
    assert await fetched(url + "?token=x#part") == content
    (head,) = origin.heads
    assert head.startswith("GET /a.bin?token=x HTTP/1.1\r\n")
    for name in ("cookie", "authorization", "referer"):
        assert name not in head.lower()
    assert "Accept-Encoding: identity" in head


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(origin: Origin, status: int) -> None:
    origin.serves("/c", ok(b"there"))
    origin.serves("/b", to("c?x=1", status))
    assert await fetched(origin.serves("/a", to(origin.url("/b"), status))) == b"there"


async def test_compressed_all_the_same_is_unpacked(origin: Origin) -> None:
    packed = gzip.compress(b"hello " * 100_000) + gzip.compress(b"world")
    url = origin.serves("/x", ok(packed, "Content-Encoding: gzip"))
    assert await fetched(url) == b"hello " * 100_000 + b"world"


async def test_twelve_and_more_ways_to_misbehave_end_clearly(origin: Origin) -> None:
    for_good, passing = ErrorClass.PERMANENT, ErrorClass.TRANSIENT
    expected: dict[str, tuple[bytes | bad.Behave, str, ErrorClass]] = {
        "endless-body": (bad.endless_body, "fetch_too_large", for_good),
        "endless-chunks": (bad.endless_chunks, "fetch_too_large", for_good),
        "gzip-bomb": (bad.gzip_bomb(), "fetch_too_large", for_good),
        "endless-header": (bad.endless_header, "fetch_failed", passing),
        "ten-thousand-headers": (bad.TEN_THOUSAND_HEADERS, "fetch_failed", passing),
        "short": (bad.SHORT, "fetch_failed", passing),
        "long": (bad.LONG, "fetch_failed", passing),
        "nonsense": (bad.NONSENSE, "fetch_failed", passing),
        "negative-length": (bad.NEGATIVE, "fetch_failed", passing),
        "two-lengths": (bad.TWO_LENGTHS, "fetch_failed", passing),
        "hang-up": (b"", "fetch_failed", passing),
        "unasked-packing": (bad.UNASKED_PACKING, "fetch_encoded", for_good),
        "cut-gzip": (bad.CUT_GZIP, "fetch_failed", passing),
        "not-gzip": (ok(b"plain", "Content-Encoding: gzip"), "fetch_encoded", for_good),
        "loop": (to("loop"), "too_many_redirects", for_good),
        "to-nowhere": (ok(b"", status="302 Found"), "fetch_refused", for_good),
        "to-a-file": (to("file:///etc/passwd"), "url_not_allowed", for_good),
        "to-a-user": (to(f"http://u:p@127.0.0.1:{origin.port}/"), "url_not_allowed", for_good),
        "to-the-inside": (to("http://127.0.0.2/"), "url_not_allowed", for_good),
        "to-metadata": (to("//169.254.169.254/latest/"), "url_not_allowed", for_good),
        "to-a-number": (to(f"http://2130706433:{origin.port}/"), "url_not_allowed", for_good),
        "to-circles": (to("http://⓪①②⑦.⓪.⓪.①/"), "url_not_allowed", for_good),
        "not-found": (ok(b"", status="404 Not Found"), "fetch_refused", for_good),
        "forbidden": (ok(b"", status="403 Forbidden"), "fetch_refused", for_good),
        "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", "fetch_refused", for_good),
        "too-many": (ok(b"", status="429 Too Many Requests"), "fetch_failed", passing),
        "broken": (ok(b"", status="503 Service Unavailable"), "fetch_failed", passing),
    }
    urls = {name: origin.serves(f"/{name}", answer) for name, (answer, _, _) in expected.items()}
    found = dict(zip(urls, await asyncio.gather(*map(refused, urls.values())), strict=True))
    assert found == {name: (code, kind) for name, (_, code, kind) in expected.items()}


async def test_what_unpacks_is_bounded_for_itself(origin: Origin) -> None:
    url = origin.serves("/bomb", bad.gzip_bomb())
    with pytest.raises(JobError) as caught:
        await fetched(url, most=1024 * MIB)
    assert caught.value.job_code == "fetch_too_large"
    assert "unpacks to more" in caught.value.detail


async def test_no_more_redirects_are_followed_than_may_be(origin: Origin) -> None:
    assert (await refused(origin.serves("/loop", to("loop"))))[0] == "too_many_redirects"
    assert len(origin.heads) == 1 + 3


async def test_silence_is_left_after_the_idle_time(origin: Origin) -> None:
    url = origin.serves("/silence", bad.silence)
    assert await refused(url, outbound_idle_s=0.2) == ("fetch_timeout", ErrorClass.TRANSIENT)


async def test_a_server_that_drips_or_only_informs_is_left_by_the_clock(origin: Origin) -> None:
    for behave in (bad.slow_drip, bad.endless_informing):
        url = origin.serves("/slow", behave)
        with pytest.raises(TimeoutError):
            await fetched(url, within_s=0.3)


async def test_nobody_listens_and_nobody_is_called(origin: Origin) -> None:
    free = origin.url("/x").replace(str(origin.port), "1")
    assert await refused(free) == ("fetch_failed", ErrorClass.TRANSIENT)
    assert await refused("http://nowhere.invalid/") == ("fetch_failed", ErrorClass.TRANSIENT)


async def test_an_error_of_the_caller_stays_his_own(origin: Origin) -> None:
    url = origin.serves("/a", ok(b"x"))
    async with open_outbound(of()) as outbound:
        with pytest.raises(OSError, match="disk"):
            async with open_download(outbound, url):
                raise OSError("disk")
