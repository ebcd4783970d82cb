"""The part of the table of routes that is about webhooks."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import examples, queries, webhook_models, webhooks
from fileproc.api.endpoints import Answer, Body, Endpoint, Errors, Tag

_JSON: Errors = (
    errors.UnsupportedMediaTypeError,
    errors.TooLargeError,
    errors.RequestTimeoutError,
    errors.UrlNotAllowedError,
)
_SAME: Errors = (errors.NotFoundError, errors.WebhookBuiltInError)
_QUEUED = Answer("It is in the queue.", webhook_models.DeliveryView, example=examples.DELIVERY)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/webhooks",
        webhooks.create_webhook,
        operation_id="createWebhook",
        stores=True,
        tag=Tag.WEBHOOKS,
        summary="Have events sent to a URL",
        description=(
            "From now on, of all your jobs. Its secret is in this answer and nowhere else: verify "
            "the signature of each message with it (Standard Webhooks 1.0)."
        ),
        answers={
            201: Answer(
                "The webhook, with its secret.",
                webhook_models.NewWebhookView,
                headers={"Location": "Address of the webhook."},
                example=examples.NEW_WEBHOOK,
            )
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=webhook_models.WebhookRequest,
        sample=examples.WEBHOOK_SAMPLE,
        secrets=("secret",),
        errors=(*_JSON, errors.QuotaError),
    ),
    Endpoint(
        "GET",
        "/v1/webhooks",
        webhooks.list_webhooks,
        operation_id="listWebhooks",
        tag=Tag.WEBHOOKS,
        summary="List your webhooks",
        answers={
            200: Answer(
                "All of them, oldest first.",
                webhook_models.WebhookList,
                example={"data": [examples.WEBHOOK]},
            )
        },
        query=queries.NoQuery,
    ),
    Endpoint(
        "GET",
        "/v1/webhooks/{webhook}",
        webhooks.get_webhook,
        operation_id="getWebhook",
        tag=Tag.WEBHOOKS,
        summary="Look at a webhook",
        answers={200: Answer("The webhook.", webhook_models.WebhookView, example=examples.WEBHOOK)},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "PATCH",
        "/v1/webhooks/{webhook}",
        webhooks.change_webhook,
        operation_id="changeWebhook",
        stores=True,
        tag=Tag.WEBHOOKS,
        summary="Change, disable or enable a webhook",
        description=(
            "What waits for one that is disabled is given up; its log still has it. What happens "
            "while it is disabled is not sent later."
        ),
        answers={200: Answer("The webhook.", webhook_models.WebhookView, example=examples.WEBHOOK)},
        query=queries.NoQuery,
        body=Body.JSON,
        payload=webhook_models.WebhookPatch,
        errors=(*_SAME, *_JSON),
    ),
    Endpoint(
        "DELETE",
        "/v1/webhooks/{webhook}",
        webhooks.delete_webhook,
        operation_id="deleteWebhook",
        tag=Tag.WEBHOOKS,
        summary="Delete a webhook",
        description="With its log and all that waits for it.",
        answers={204: Answer("It is gone.")},
        query=queries.NoQuery,
        errors=_SAME,
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{webhook}/rotate",
        webhooks.rotate_webhook,
        operation_id="rotateWebhook",
        tag=Tag.WEBHOOKS,
        summary="Give a webhook a new secret",
        description=(
            "For a day (a setting) messages carry two signatures, one by the secret of before, so "
            "that the receiver can change over. Two secrets live at once, never three. This is "
            "also how you come by the secret of the webhook `jobs`."
        ),
        answers={
            200: Answer(
                "The webhook, with its new secret.",
                webhook_models.NewWebhookView,
                example=examples.NEW_WEBHOOK,
            )
        },
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
        secrets=("secret",),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{webhook}/test",
        webhooks.test_webhook,
        operation_id="testWebhook",
        stores=True,
        tag=Tag.WEBHOOKS,
        summary="Send a test message",
        description="Of the type `webhook.test`, signed and repeated as any other.",
        answers={202: _QUEUED},
        query=queries.NoQuery,
        errors=(*_SAME, errors.WebhookDisabledError, errors.QuotaError),
    ),
    Endpoint(
        "GET",
        "/v1/webhooks/{webhook}/deliveries",
        webhooks.list_deliveries,
        operation_id="listDeliveries",
        tag=Tag.WEBHOOKS,
        summary="List what was sent, or is to be sent, newest first",
        description=(
            "What is over is kept for a week, the last 200 of each webhook (settings). With "
            "`state`, a page may be short and still have a cursor."
        ),
        answers={200: Answer.page(webhook_models.DeliveryList, examples.DELIVERY)},
        query=webhook_models.DeliveriesQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "GET",
        "/v1/webhooks/{webhook}/deliveries/{delivery}",
        webhooks.get_delivery,
        operation_id="getDelivery",
        tag=Tag.WEBHOOKS,
        summary="Look at a delivery and what it says",
        answers={200: Answer("The delivery.", webhook_models.DeliveryDetail)},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "POST",
        "/v1/webhooks/{webhook}/deliveries/{delivery}/redeliver",
        webhooks.redeliver,
        operation_id="sendAgain",
        stores=True,
        tag=Tag.WEBHOOKS,
        summary="Send a delivery once more",
        description="With the same `webhook-id` and body, whether it had succeeded or failed.",
        answers={202: _QUEUED},
        query=queries.NoQuery,
        errors=(
            errors.NotFoundError,
            errors.WebhookPendingError,
            errors.WebhookDisabledError,
            errors.QuotaError,
        ),
    ),
)
