"""A page of a list: its entries, and where the next page is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import EMPTY_LIST


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
    data = list(entries)
    if not data and not next_cursor:
        request[EMPTY_LIST] = True
    body = to_json({"data": data, "next_cursor": next_cursor})
    return web.Response(body=body, headers=headers, content_type="application/json")


def list_answer(request: web.Request, entries: Iterable[Mapping[str, Any]]) -> web.Response:
    """The answer to a request for a list that is short enough to be told at once."""
    data = list(entries)
    if not data:
        request[EMPTY_LIST] = True
    return web.Response(body=to_json({"data": data}), content_type="application/json")


__all__ = ["list_answer", "page_answer"]
