"""The part of the table of routes that is about keys."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import examples, key_models, keys, queries
from fileproc.api.endpoints import Answer, Body, Endpoint, Errors, Tag
from fileproc.store import Role

_JSON: Errors = (
    errors.UnsupportedMediaTypeError,
    errors.TooLargeError,
    errors.RequestTimeoutError,
)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/keys",
        keys.create_key,
        operation_id="createKey",
        tag=Tag.KEYS,
        summary="Make a key",
        description="Its token is in this answer and nowhere else; only a hash of it is kept.",
        answers={
            201: Answer(
                "The key, with its token.",
                key_models.NewKeyView,
                headers={"Location": "Address of the key."},
                example=examples.NEW_KEY,
            )
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=key_models.KeyRequest,
        sample=examples.KEY_SAMPLE,
        errors=_JSON,
        role=Role.ADMIN,
        secrets=("token",),
    ),
    Endpoint(
        "GET",
        "/v1/keys",
        keys.list_keys,
        operation_id="listKeys",
        tag=Tag.KEYS,
        summary="List the keys of all owners, oldest first",
        description=(
            "One that was revoked or has expired is shown for 90 days more. With `owner`, a page "
            "may be short and still have a cursor."
        ),
        answers={200: Answer.page(key_models.KeyList, examples.KEY)},
        query=key_models.KeyListQuery,
        role=Role.ADMIN,
    ),
    Endpoint(
        "GET",
        "/v1/keys/{key}",
        keys.get_key,
        operation_id="getKey",
        tag=Tag.KEYS,
        summary="Look at a key",
        answers={200: Answer("The key.", key_models.KeyView, example=examples.KEY)},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
        role=Role.ADMIN,
    ),
    Endpoint(
        "POST",
        "/v1/keys/{key}/rotate",
        keys.rotate_key,
        operation_id="rotateKey",
        tag=Tag.KEYS,
        summary="Give a key a new secret",
        description=(
            "The old secret lives on for `overlap_s`, a day unless you say otherwise, so that "
            "whoever uses it can change over. At most four old ones live at once; `overlap_s` 0 "
            "ends them all."
        ),
        answers={
            200: Answer(
                "The key, with its new token.", key_models.NewKeyView, example=examples.NEW_KEY
            )
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=key_models.RotateRequest,
        errors=(errors.NotFoundError, errors.WrongStateError, errors.QuotaError, *_JSON),
        role=Role.ADMIN,
        secrets=("token",),
    ),
    Endpoint(
        "DELETE",
        "/v1/keys/{key}",
        keys.revoke_key,
        operation_id="revokeKey",
        tag=Tag.KEYS,
        summary="Revoke a key",
        description="At once, with all its secrets. What it started goes on.",
        answers={204: Answer("It opens nothing any more.")},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
        role=Role.ADMIN,
    ),
)
