"""Endpoints of webhooks, and deliveries that are not over, as their events leave them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from fileproc.store.events import Event


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A delivery that is not over; its members are named as its event has them."""

    owner: str
    ep: str  # id of the webhook
    url: str  # of the hook of a job; "": the webhook's
    ty: str
    job: str
    ca: str  # queued at (ms)

    def told(self) -> dict[str, str]:
        return {"ep": self.ep, "url": self.url, "ty": self.ty, "job": self.job, "ca": self.ca}


class WebhookMemory:
    def __init__(self) -> None:
        self.webhooks: dict[tuple[str, str], dict[str, str]] = {}  # by owner and id
        self.deleted: dict[tuple[str, str], int] = {}  # when (ms)
        self.deliveries: dict[str, Undelivered] = {}

    def fold(self, event: Event, now: int) -> None:
        """Take in what became of an endpoint; versions only rise."""
        webhook = (event.owner, event.job_id)
        if event.move == "webhook_put":
            fields = json.loads(event.data)
            if int(fields["n"]) > int(self.webhooks.get(webhook, {}).get("n", -1)):
                self.webhooks[webhook] = fields
            return
        self.webhooks.pop(webhook, None)
        self.deleted[webhook] = now
        for delivery_id, waiting in list(self.deliveries.items()):
            if (waiting.owner, waiting.ep) == webhook:
                del self.deliveries[delivery_id]

    def fold_delivery(self, event: Event, _: int) -> None:
        """Take in that a delivery waits, or is over."""
        if event.move == "delivery_put":
            told = json.loads(event.data)
            self.deliveries[event.job_id] = Undelivered(owner=event.owner, **told)
        else:
            self.deliveries.pop(event.job_id, None)

    def forget_before(self, moment: int) -> None:
        """Drop deletions, and what was queued, before this (ms)."""
        self.deleted = {webhook: at for webhook, at in self.deleted.items() if at >= moment}
        waiting = self.deliveries.items()
        self.deliveries = {name: told for name, told in waiting if int(told.ca) >= moment}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Entries for a snapshot."""
        for (owner, webhook_id), at in self.deleted.items():
            yield f"{at}-0", f"{webhook_id} webhook_deleted {owner} 0 "
        for (owner, webhook_id), fields in self.webhooks.items():
            data = json.dumps(fields, ensure_ascii=False)
            yield f"{fields['up']}-0", f"{webhook_id} webhook_put {owner} {fields['n']} {data}"
        for delivery_id, waiting in self.deliveries.items():
            data = json.dumps(waiting.told(), ensure_ascii=False)
            yield f"{waiting.ca}-0", f"{delivery_id} delivery_put {waiting.owner} 0 {data}"
