"""The grammar of forms: what is read, whatever the cut of the chunks, and what is refused."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fileproc.api.multipart import Form, PartHead, boundary_of
from fileproc.errors import BadRequestError, UnsupportedMediaTypeError
from support.http import Hands, field, file_part, form, jpeg, problem


async def chunks_of(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, size: int = 7, boundary: bytes = b"B") -> list[tuple[PartHead, bytes]]:
    reader = Form(chunks_of(data, size), boundary)
    parts = []
    while (head := await reader.next_part()) is not None:
        parts.append((head, b"".join([chunk async for chunk in reader.chunks()])))
    return parts


@given(
    contents=some.lists(some.binary(max_size=200), min_size=1, max_size=4),
    size=some.integers(min_value=1, max_value=300),
)
async def test_what_went_in_comes_out_however_it_is_cut(contents: list[bytes], size: int) -> None:
    parts = [(file_part(f"{place}.bin"), content) for place, content in enumerate(contents)]
    if any(b"\r\n--frontier" in content for content in contents):
        return
    _, body = form(*parts)
    found = await read(body, size, b"frontier")
    assert [content for _, content in found] == contents


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
async def test_what_looks_like_a_boundary_and_is_none_is_content(size: int) -> None:
    content = b"\r\n--A\r\n-\r\n--\r\n\r\n--C--\r\r\n\r\n--"
    _, body = form((file_part("a"), content), boundary="B")
    [(_, found)] = await read(body, size)
    assert found == content


async def test_preamble_padding_and_epilogue_are_no_parts() -> None:
    body = (
        b"hello\r\n--B  \t\r\n" + field("a").encode() + b"\r\n\r\nx\r\n--B--\r\nthe end\r\n--B\r\n"
    )
    [(head, content)] = await read(body)
    assert (head.name, content) == ("a", b"x")


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="a"; filename="b.jpg"', "a", "b.jpg"),
        ("form-data; name=a; filename=b.jpg", "a", "b.jpg"),
        ('form-data; name="a"; filename="with \\"quotes\\" and \\\\"', "a", 'with "quotes" and \\'),
        ('form-data; name="a"; filename="semi;colon.jpg"', "a", "semi;colon.jpg"),
        ('form-data; name="a"; filename="C:\\fake\\x.jpg"', "a", "C:\\fake\\x.jpg"),
        ('form-data; name="a"; filename="é😀.png"', "a", "é😀.png"),
        ("form-data; name=\"a\"; filename*=UTF-8''%c3%a9.png", "a", "é.png"),
        ('form-data; name="a"; filename="x"; filename*=utf-8\'\'y%20z', "a", "y z"),
        ('form-data; name="a"; filename=""', "a", ""),
        ('FORM-DATA; NAME="a"', "a", None),
        ('form-data; name="a"; name="b"', "a", None),
    ],
)
async def test_names_in_the_ways_that_clients_write_them(
    disposition: str, name: str, filename: str | None
) -> None:
    body = f"--B\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--B--".encode()
    [(head, _)] = await read(body)
    assert (head.name, head.filename) == (name, filename)


def part(head: str) -> bytes:
    return b"--B\r\n" + head.encode() + b"\r\n\r\nx\r\n--B--"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--B",
        b"--B\r\n",
        b"--Bx\r\n" + field("a").encode() + b"\r\n\r\nx\r\n--B--",
        b"--B\r\n" + field("a").encode() + b"\r\n\r\nx",
        b"--B\r\n" + field("a").encode() + b"\r\n\r\nx\r\n--B\r\n",
        b"--B\r\n\r\nx\r\n--B--",
        part("Content-Type: text/plain"),
        part("Content-Disposition: attachment; name=a"),
        part("Content-Disposition: form-data"),
        part('Content-Disposition: form-data; name=""'),
        part(field("a") + "\r\n folded: yes"),
        part(field("a") + "\r\nno colon"),
        part(field("a") + "\r\n" + field("b")),
        part(field("a") + "\r\nBad Name: x"),
        part(field("a") + "".join(f"\r\nX-{n}: y" for n in range(20))),
        part(field("a") + "\r\nX: " + "y" * 10_000),
        part(field("a") + "\r\nContent-Type: multipart/mixed; boundary=C"),
        b"x" * 20_000 + b"\r\n" + part(field("a")),
        b"--B" + b" " * 100 + b"\r\n" + field("a").encode() + b"\r\n\r\nx\r\n--B--",
    ],
)
@pytest.mark.parametrize("size", [1, 17, 100_000])
async def test_a_malformed_form_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(BadRequestError):
        await read(body, size)


@pytest.mark.parametrize("header", ["Content-Encoding: gzip", "Content-Transfer-Encoding: base64"])
async def test_an_encoded_part_is_refused(header: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError):
        await read(part(field("a") + "\r\n" + header))


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=ä",
    ],
)
def test_a_boundary_must_be_a_proper_one(content_type: str) -> None:
    with pytest.raises(BadRequestError):
        boundary_of(content_type)


def test_boundaries_are_read_with_and_without_quotes() -> None:
    for text in ("boundary=xyz", 'boundary="xyz"', "charset=utf-8; Boundary=xyz"):
        assert boundary_of(f"multipart/form-data; {text}") == b"xyz"


async def test_random_bytes_raise_nothing_unforeseen() -> None:
    chance = random.Random(11)
    _, whole = form((field("job"), b"{}"), (file_part("a"), b"x" * 50), boundary="B")
    for _ in range(2000):
        broken = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        with suppress(BadRequestError, UnsupportedMediaTypeError):
            await read(bytes(broken), chance.randrange(1, 40))


# --- through the api ---------------------------------------------------------------------------


async def refused(api: Any, hands: Hands, *parts: tuple[str, bytes]) -> dict[str, Any]:
    headers, body = form(*parts)
    answer = await api.post("/v1/jobs", data=body, headers=headers)
    assert 400 <= answer.status < 500, await answer.text()
    document: dict[str, Any] = await answer.json()
    assert await hands.files() == []
    return document


JOB = (field("job"), b'{"operation":"file.probe"}')


async def test_a_form_without_a_job(api: Any, hands: Hands) -> None:
    document = await refused(api, hands, (file_part("a"), b"x"))
    assert document["errors"][0]["pointer"] == "job"


async def test_a_form_with_two_jobs(api: Any, hands: Hands) -> None:
    assert (await refused(api, hands, JOB, (file_part("a"), b"x"), JOB))["status"] == 422


async def test_parameters_as_form_fields_are_pointed_to_the_job(api: Any, hands: Hands) -> None:
    document = await refused(api, hands, JOB, (field("width"), b"800"))
    assert document["errors"][0]["pointer"] == "width"


async def test_a_part_that_no_input_names(api: Any, hands: Hands) -> None:
    job = (field("job"), b'{"operation":"file.probe","inputs":[{"part":"a"}]}')
    stray = (file_part("x", name="b"), b"x")
    for parts in ([job, stray], [stray, job]):
        assert (await refused(api, hands, *parts))["errors"][0]["allowed"] == ["a"]


async def test_an_input_that_no_part_brings(api: Any, hands: Hands) -> None:
    job = (field("job"), b'{"operation":"file.probe","inputs":[{"part":"a"}]}')
    assert (await refused(api, hands, job))["errors"][0]["pointer"] == "/inputs/0/part"


async def test_two_parts_of_the_name_that_an_input_picks(api: Any, hands: Hands) -> None:
    job = (field("job"), b'{"operation":"file.probe","inputs":[{"part":"a"}]}')
    twice = [(file_part("x", name="a"), b"x")] * 2
    assert (await refused(api, hands, job, *twice))["errors"][0]["pointer"] == "/inputs/0/part"


async def test_ten_thousand_parts(api: Any, hands: Hands) -> None:
    document = await refused(api, hands, *[(file_part("a"), b"x")] * 10_000, JOB)
    assert (document["code"], document["limit"]) == ("too_large", "max_inputs")
    document = await refused(api, hands, JOB, *[(file_part("a"), b"x")] * 10_000)
    assert document["code"] == "invalid_request"


async def test_a_form_cut_off_in_the_middle(api: Any, hands: Hands) -> None:
    headers, body = form(JOB, (file_part("a"), jpeg()))
    answer = await api.post("/v1/jobs", data=body[:-30], headers=headers)
    await problem(answer, 400, "bad_request")
    assert await hands.files() == []
