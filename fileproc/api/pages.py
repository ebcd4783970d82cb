"""A page of a list: its entries, and where the next page is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from pydantic_core import to_json


def page_answer(
    request: web.Request, entries: Iterable[Mapping[str, Any]], next_cursor: str | None
) -> web.Response:
    """The answer to a request for a page; `next_cursor` is None on the last.

    The Link header (RFC 8288) is relative, so that it is right behind any proxy.
    """
    headers = {}
    if next_cursor:
        onward = request.rel_url.update_query(cursor=next_cursor)
        headers["Link"] = f'<{onward.path_qs}>; rel="next"'
    body = to_json({"data": list(entries), "next_cursor": next_cursor})
    return web.Response(body=body, headers=headers, content_type="application/json")


__all__ = ["page_answer"]
