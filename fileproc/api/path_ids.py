"""Ids in the addresses of requests."""

from __future__ import annotations

from aiohttp import web

from fileproc.errors import NotFoundError
from fileproc.ids import is_id


def path_id(request: web.Request, *, noun: str, kind: str = "", place: str = "") -> str:
    """The id in the address.

    `kind` is the prefix of such ids and `place` the name of their place in the template, where they
    are not the noun itself.

    Raises:
        NotFoundError: it cannot be one; answered exactly as one that does not exist.
    """
    found = request.match_info[place or noun]
    if not is_id(found, kind or noun):
        raise NotFoundError(f"There is no {noun} {found[:100]}.")
    return found
