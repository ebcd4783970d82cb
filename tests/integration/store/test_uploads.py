"""Uploads are in one hand at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fileproc.ids import new_id
from fileproc.store import UploadDocument

if TYPE_CHECKING:
    from fileproc.store import Store


async def test_who_holds_an_upload_is_asked_for_it_and_told_when_it_is_lost(store: Store) -> None:
    uploads, upload = store.uploads, new_id("upload")
    document = UploadDocument(kind="tus", name="a.txt", type="text/plain", retention_s=60)
    await uploads.open(upload, "acme", document, "")
    assert await uploads.keep(upload, "nobody's") == "lost"
    assert await uploads.hold("acme", upload, "one")
    assert await uploads.keep(upload, "one") == "kept"
    assert not await uploads.hold("acme", upload, "other")
    assert await uploads.keep(upload, "one") == "asked"
    assert await uploads.keep(upload, "other") == "lost"
    await uploads.release(upload, "one")
    assert await uploads.hold("acme", upload, "other")
    assert await uploads.keep(upload, "one") == "lost"
    await uploads.release(upload, "other")
