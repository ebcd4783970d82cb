"""Webhooks: one worker at a time makes deliveries from the events, every worker sends them."""

from fileproc.worker.webhooks.bodies import Bodies
from fileproc.worker.webhooks.reader import EventReader
from fileproc.worker.webhooks.sender import Sender

__all__ = ["Bodies", "EventReader", "Sender"]
