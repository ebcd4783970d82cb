"""Endpoints of webhooks, and the log of what was sent to them."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web
from pydantic_core import from_json, to_json

from fileproc.api.context import api_of, caller_of
from fileproc.api.drafts import check_hook_url
from fileproc.api.pages import list_answer, page_answer
from fileproc.api.path_ids import path_id
from fileproc.api.payload import read_payload
from fileproc.api.queries import NoQuery
from fileproc.api.reading import read_query
from fileproc.api.webhook_models import DeliveriesQuery, WebhookPatch, WebhookRequest
from fileproc.errors import (
    BadRequestError,
    WebhookBuiltInError,
    WebhookDisabledError,
)
from fileproc.ids import is_id, new_id
from fileproc.store import Delivery, NewDelivery, Webhook
from fileproc.views import test_body
from fileproc.webhooks import JOBS, TEST

_JSON = "application/json"
_SECRET = {"Cache-Control": "no-store"}


async def _webhook_id(request: web.Request, *, built_in: bool = True, make: bool = False) -> str:
    """The id in the address; `make`: `jobs` is made if it is not there yet.

    Raises:
        NotFoundError: it cannot be one; answered exactly as one that does not exist.
        WebhookBuiltInError: it is `jobs`, and `built_in` says that this cannot be done with it.
    """
    webhook_id = request.match_info["webhook"]
    if webhook_id == JOBS:
        if not built_in:
            raise WebhookBuiltInError(
                "The webhook `jobs` sends what single jobs ask for: it can neither be changed, "
                "tested nor deleted."
            )
        if make:
            await api_of(request).resources.store.webhooks.ensure_jobs(caller_of(request).owner)
        return webhook_id
    return path_id(request, noun="webhook", kind="wh")


_delivery_id = partial(path_id, noun="delivery", kind="msg")


async def create_webhook(request: web.Request) -> web.StreamResponse:
    """`POST /v1/webhooks`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    asked = await read_payload(request, WebhookRequest)
    check_hook_url(api, asked.url, "/url")
    made, secret = await api.resources.store.webhooks.create(
        caller.owner,
        asked.url,
        [str(event) for event in asked.events],
        description=asked.description,
        enabled=asked.enabled,
    )
    return web.Response(
        body=to_json({**_view(made), "secret": secret}),
        status=201,
        headers={"Location": f"/v1/webhooks/{made.id}", **_SECRET},
        content_type=_JSON,
    )


async def list_webhooks(request: web.Request) -> web.StreamResponse:
    """`GET /v1/webhooks`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    found = await api.resources.store.webhooks.list(caller.owner)
    return list_answer(request, map(_view, found))


async def get_webhook(request: web.Request) -> web.StreamResponse:
    """`GET /v1/webhooks/{webhook}`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id = await _webhook_id(request, make=True)
    return _answer(_view(await api.resources.store.webhooks.get(caller.owner, webhook_id)))


async def change_webhook(request: web.Request) -> web.StreamResponse:
    """`PATCH /v1/webhooks/{webhook}`."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id = await _webhook_id(request, built_in=False)
    asked = await read_payload(request, WebhookPatch)
    if asked.url is not None:
        check_hook_url(api, asked.url, "/url")
    changed = await api.resources.store.webhooks.change(
        caller.owner,
        webhook_id,
        url=asked.url,
        events=None if asked.events is None else [str(event) for event in asked.events],
        description=asked.description,
        enabled=asked.enabled,
    )
    return _answer(_view(changed))


async def delete_webhook(request: web.Request) -> web.StreamResponse:
    """`DELETE /v1/webhooks/{webhook}`: with its log and all that waits for it."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id = await _webhook_id(request, built_in=False)
    await api.resources.store.webhooks.delete(caller.owner, webhook_id)
    return web.Response(status=204)


async def rotate_webhook(request: web.Request) -> web.StreamResponse:
    """`POST /v1/webhooks/{webhook}/rotate`: a new secret, shown once."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id = await _webhook_id(request, make=True)
    rotated, secret = await api.resources.store.webhooks.rotate(caller.owner, webhook_id)
    return _answer({**_view(rotated), "secret": secret}, headers=_SECRET)


async def test_webhook(request: web.Request) -> web.StreamResponse:
    """`POST /v1/webhooks/{webhook}/test`: a message of the type `webhook.test`, like any other."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id = await _webhook_id(request, built_in=False)
    webhook = await api.resources.store.webhooks.get(caller.owner, webhook_id)
    deliveries = api.resources.store.deliveries
    message = NewDelivery(
        id=new_id("msg"),
        owner=caller.owner,
        webhook_id=webhook.id,
        url="",
        type=TEST,
        job_id="",
        body=test_body(datetime.now(UTC), webhook.id),
    )
    _, dropped = await deliveries.queue(None, [message]) or (0, 0)
    if dropped:
        raise deliveries.full(api.settings.max_pending_deliveries)
    if not webhook.enabled:
        raise WebhookDisabledError("The webhook is disabled: enable it first.")
    found = await deliveries.get(caller.owner, webhook.id, message.id)
    return _answer(_delivery_view(found), status=202)


async def list_deliveries(request: web.Request) -> web.StreamResponse:
    """`GET /v1/webhooks/{webhook}/deliveries`."""
    api, caller = api_of(request), caller_of(request)
    query = read_query(DeliveriesQuery, request.query)
    webhook_id = await _webhook_id(request, make=True)
    await api.resources.store.webhooks.get(caller.owner, webhook_id)
    found, onward = await api.resources.store.deliveries.list(
        caller.owner,
        webhook_id,
        state=query.state,
        before=_place(query.cursor) if query.cursor else None,
        limit=query.limit,
    )
    cursor = _cursor(*onward) if onward else None
    return page_answer(request, map(_delivery_view, found), cursor)


async def get_delivery(request: web.Request) -> web.StreamResponse:
    """`GET /v1/webhooks/{webhook}/deliveries/{delivery}`: with what it says."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id, delivery_id = await _webhook_id(request), _delivery_id(request)
    found = await api.resources.store.deliveries.get(caller.owner, webhook_id, delivery_id)
    return _answer({**_delivery_view(found), "payload": from_json(found.body)})


async def redeliver(request: web.Request) -> web.StreamResponse:
    """`POST .../deliveries/{delivery}/redeliver`: the same message, with the same id, once more."""
    api, caller = api_of(request), caller_of(request)
    read_query(NoQuery, request.query)
    webhook_id, delivery_id = await _webhook_id(request), _delivery_id(request)
    found = await api.resources.store.deliveries.redeliver(caller.owner, webhook_id, delivery_id)
    return _answer(_delivery_view(found), status=202)


def _answer(
    body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(body=to_json(body), status=status, headers=headers, content_type=_JSON)


def _view(webhook: Webhook) -> dict[str, Any]:
    """The members of `WebhookView`."""
    return {
        "id": webhook.id,
        "object": "webhook",
        "url": webhook.url,
        "events": list(webhook.events),
        "description": webhook.description,
        "enabled": webhook.enabled,
        "disabled_reason": webhook.disabled_reason,
        "disabled_at": webhook.disabled_at,
        "failing_since": webhook.failing_since,
        "skipped": webhook.skipped,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
        "old_secret_until": webhook.old_secret_until,
    }


def _delivery_view(delivery: Delivery) -> dict[str, Any]:
    """The members of `DeliveryView`."""
    return {
        "id": delivery.id,
        "object": "delivery",
        "webhook_id": delivery.webhook_id,
        "type": delivery.type,
        "job_id": delivery.about if is_id(delivery.about or "", "job") else None,
        "batch_id": delivery.about if is_id(delivery.about or "", "batch") else None,
        "url": delivery.url,
        "state": delivery.state,
        "created_at": delivery.created_at,
        "finished_at": delivery.finished_at,
        "next_attempt_at": delivery.next_attempt_at,
        "attempts": delivery.attempts,
        "tries": [
            {"at": tried.at, "status": tried.status, "error": tried.error}
            for tried in delivery.tries
        ],
        "note": delivery.note,
    }


def _cursor(made_ms: int, delivery_id: str) -> str:
    return base64.urlsafe_b64encode(f"{made_ms} {delivery_id}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[int, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        made, delivery_id = text.split(" ")
        return int(made), delivery_id
    except (ValueError, binascii.Error) as exc:
        raise BadRequestError("The cursor is not one that this server gave out.") from exc
