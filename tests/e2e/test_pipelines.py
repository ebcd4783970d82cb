"""A pipeline from end to end: one request, the real roles, one result."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import aiohttp
import pytest
from PIL import Image

from pdfs import book, saved
from support.commands import dev

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)

STEPS = {
    "pages": {"operation": "pdf.to_images", "params": {"dpi": 72}},
    "thumbs": {
        "operation": "image.resize",
        "params": {"width": 50, "format": "webp"},
        "needs": ["pages"],
        "for_each": True,
    },
    "zip": {"operation": "archive.create", "params": {"name": "thumbs"}, "needs": ["thumbs"]},
}


async def test_a_pdf_becomes_a_zip_of_thumbnails(tmp_path: Path) -> None:
    form = aiohttp.FormData()
    form.add_field("job", json.dumps({"steps": STEPS}))
    form.add_field("file", saved(book()), filename="book.pdf", content_type="application/pdf")
    async with dev(tmp_path) as running, aiohttp.ClientSession(running.url) as http:
        async with http.post("/v1/jobs?wait=60", data=form) as answer:
            assert answer.status == 200, await answer.text()
            job = await answer.json()
        assert job["state"] == "succeeded", job["error"]
        told = [(step["name"], step["state"], step["outputs"]) for step in job["steps"]]
        assert told == [
            ("pages", "succeeded", 4),
            ("thumbs", "succeeded", 4),
            ("zip", "succeeded", 1),
        ]
        assert [step["engine"].split()[0] for step in job["steps"]][1] == "pyvips"
        assert [output["name"] for output in job["outputs"]] == ["thumbs.zip"]
        async with http.get(job["links"]["result"]) as answer:
            data = await answer.read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        pictures = [Image.open(io.BytesIO(archive.read(name))) for name in names]
    assert names == [f"book-00{number}.webp" for number in (1, 2, 3, 4)]
    assert {(picture.format, picture.width) for picture in pictures} == {("WEBP", 50)}
