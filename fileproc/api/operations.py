"""The catalogue as clients see it."""

from __future__ import annotations

from aiohttp import web
from pydantic_core import to_json

from fileproc.api.context import api_of
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.errors import NotFoundError, UnknownOperationError
from fileproc.operations import find, not_offered
from fileproc.views import operation_view


async def list_operations(request: web.Request) -> web.StreamResponse:
    """`GET /v1/operations`: all at once."""
    api = api_of(request)
    read_query(NoQuery, request.query)
    data = [operation_view(operation, api.settings) for operation in api.operations.values()]
    return web.Response(body=to_json({"data": data}), content_type="application/json")


async def get_operation(request: web.Request) -> web.StreamResponse:
    """`GET /v1/operations/{name}`."""
    api = api_of(request)
    read_query(NoQuery, request.query)
    name = request.match_info["name"]
    operation = api.operations.get(name)
    if operation is None:
        raise _not_found(name, debug=api.settings.debug_operations)
    return web.Response(
        body=to_json(operation_view(operation, api.settings)), content_type="application/json"
    )


def _not_found(name: str, *, debug: bool) -> NotFoundError:
    """As those are told who ask for a job: that there is none, or what it would need here."""
    try:
        return NotFoundError(not_offered(find(name, debug=debug)))
    except UnknownOperationError as exc:
        return NotFoundError(exc.detail)
