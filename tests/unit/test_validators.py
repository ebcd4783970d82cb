"""What judges a client's texts takes time in proportion to them, whatever stands there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from fileproc import scopes
from fileproc.api.accepting import wish_of
from fileproc.api.addresses import address_of
from fileproc.api.multipart import Form, boundary_of
from fileproc.api.reading import parse_json
from fileproc.connections import place_of
from fileproc.errors import FileprocError
from fileproc.objects.names import clean_name, content_disposition
from fileproc.outbound import check_url
from fileproc.settings import Settings
from fileproc.store.apikeys import check_owner
from fileproc.views import masked_url
from fileproc.webhooks import retry_after_s

MOST_S = 2.0  # of processor time; what takes the square of the length takes hours
SETTINGS = Settings(_env_file=None)
PROXIES = [ip_network("10.0.0.0/8")]


async def _parts(text: str) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield text.encode("utf-8", "replace")

    form = Form(body(), b"x")
    while await form.next_part() is not None:
        pass


JUDGES: dict[str, Callable[[str], object]] = {
    "name": clean_name,
    "header of a name": content_disposition,
    "url": lambda text: check_url(f"https://{text}", SETTINGS),
    "url's path": lambda text: check_url(f"https://example.com/{text}", SETTINGS),
    "masked url": masked_url,
    "json": lambda text: parse_json(text.encode("utf-8", "replace")),
    "boundary": lambda text: boundary_of(f"multipart/form-data; boundary={text}"),
    "form": lambda text: asyncio.run(_parts(text)),
    "form with a boundary": lambda text: asyncio.run(_parts("--x\r\n" + text)),
    "forwarded": lambda text: address_of("10.0.0.1", [text], PROXIES),
    "owner": check_owner,
    "scope": lambda text: scopes.checked([text]),
    "preference": lambda text: wish_of(
        make_mocked_request("GET", "/", headers={"Prefer": f"a,{text},b"}), None
    ),
    "place": lambda text: place_of(f"s3://{text}"),
    "place's key": lambda text: place_of(f"s3://a/{text}"),
    "retry-after": retry_after_s,
}
PIECES = (
    *("a", " ", "\t", "a ", ";", '"', "\\", '\\"', "; a=", ';a="\\', ",", ", ", "[", "{", '{"a":'),
    *("/", "../", "%", "%2e", ".", "a.", "-", ":", "\r\n", "\r\n--", "--x", "--x\r\n", "a: b\r\n"),
    *("\u202e", "\u0301", "\ufb03", "\u1100\u1161\u11a8", "\U0001f642", "1", "127.", "="),
)


@pytest.mark.parametrize("judge", JUDGES)
def test_a_megabyte_of_anything_is_judged_at_once(judge: str) -> None:
    for piece in PIECES:
        text = piece * (1_000_000 // len(piece))
        begun = time.process_time()
        with suppress(FileprocError):
            JUDGES[judge](text)
        assert time.process_time() - begun < MOST_S, (judge, piece)
