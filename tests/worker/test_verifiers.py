"""The lines of docs/webhooks.md that verify messages, with the libraries that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from fileproc.worker.webhooks import EventReader, Sender
from support.jobs import make_job
from support.node import running
from support.receiver import Got, receiving

if TYPE_CHECKING:
    from fileproc.resources import Resources
    from fileproc.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"outbound_allow": "127.0.0.0/8", "outbound_ports": "1-65535"}
    )


def lines_of_page(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(block)


async def deliver(resources: Resources, url: str) -> str:
    """One message of a real event, to this address; the secret that signs it."""
    store = resources.store
    _, secret = await store.webhooks.create("acme", url, ["job.accepted"])
    await store.jobs.accept(make_job("acme"))
    reader, sender = EventReader(resources, "test"), Sender(resources)
    while await reader.read():
        pass
    assert await sender.send_due()
    return secret


def tampered(got: Got) -> list[tuple[dict[str, str], bytes]]:
    """What somebody could make of a message that was overheard."""
    names = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type")
    headers = {name: got.headers[name] for name in names}
    earlier = str(int(headers["webhook-timestamp"]) - 3600)
    return [
        (headers, got.body.replace(b"job.accepted", b"job.succeeded")),
        (headers, got.body + b" "),
        ({**headers, "webhook-id": "msg_other"}, got.body),
        ({**headers, "webhook-timestamp": earlier}, got.body),
        ({**headers, "webhook-signature": "v1," + "A" * 43 + "="}, got.body),
        ({**headers, "webhook-signature": ""}, got.body),
    ]


async def test_node_verifies_what_is_delivered_and_refuses_what_was_changed(
    resources: Resources,
) -> None:
    async with receiving() as receiver:
        secret = await deliver(resources, receiver.url)
        (got,) = receiver.got
    server = lines_of_page("js").replace(
        "listen(8000)", "listen(0, '127.0.0.1', function () { console.log(this.address().port) })"
    )
    # From its standard input the names of packages are looked up in the working folder.
    async with running("--input-type=module", endless=True, SECRET=secret) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(server.encode())
        process.stdin.close()
        port = int(await process.stdout.readline())
        url = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=got.body, headers=got.headers) as answer:
                assert answer.status == 204
            for headers, body in tampered(got):
                async with session.post(url, data=body, headers=headers) as answer:
                    assert answer.status == 401, headers
        told = (await process.stdout.readline()).decode().split()
        assert told[:2] == [got.id, "job.accepted"]


async def test_python_verifies_what_is_delivered_and_refuses_what_was_changed(
    resources: Resources,
) -> None:
    async with receiving() as receiver:
        secret = await deliver(resources, receiver.url)
        (got,) = receiver.got
    taken: list[Any] = []
    names: dict[str, Any] = {
        "SECRET": secret, "seen": lambda _: False, "enqueue": taken.append,
        "Webhook": Webhook, "WebhookVerificationError": WebhookVerificationError,
    }  # fmt: skip
    exec(lines_of_page("python"), names)
    assert names["hook"](got.headers, got.body) == 204
    assert [message["type"] for message in taken] == ["job.accepted"]
    assert [names["hook"](headers, body) for headers, body in tampered(got)] == [401] * 6
