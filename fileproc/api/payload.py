"""A JSON body of an endpoint, from the bytes to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from fileproc.api.body import Body, media_type_of, refuse_other_charsets
from fileproc.api.context import api_of
from fileproc.api.reading import parse_json, read_body
from fileproc.errors import UnsupportedMediaTypeError

if TYPE_CHECKING:
    from aiohttp import web

Model = TypeVar("Model", bound=BaseModel)


async def read_payload(
    request: web.Request, model: type[Model], *, optional: bool = False
) -> Model:
    """The body of this request as what it must be; with `optional`, no body stands for `{}`.

    Nothing but `application/json` is taken: what a foreign page may send without being asked has
    other types.

    Raises:
        UnsupportedMediaTypeError: it is not JSON in UTF-8, or compressed.
        TooLargeError, RequestTimeoutError, BadRequestError, InvalidRequestError: the body.
    """
    settings = api_of(request).settings
    body = Body(request, settings)
    body.refuse_encoded()
    if optional and not request.can_read_body:
        return read_body(model, {})
    if media_type_of(request) != "application/json":
        raise UnsupportedMediaTypeError(
            "Send JSON, as application/json.", accepted=["application/json"]
        )
    refuse_other_charsets(request)
    text = await body.read(settings.max_json_bytes, "max_json_bytes", "A JSON body")
    return read_body(model, parse_json(text))
