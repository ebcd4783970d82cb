"""Messages and descriptors between worker and zygote, with and without message boundaries."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator

import pytest

from fileproc.worker.zygote.channel import Channel, pair
from fileproc.worker.zygote.protocol import ORDERS, Kill, Prepare, Start

Orders = Channel[Prepare | Start | Kill]


@pytest.fixture(params=["SOCK_SEQPACKET", "SOCK_STREAM"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Orders, Orders]]:
    first, second = socket.socketpair(socket.AF_UNIX, getattr(socket, request.param))
    first.setblocking(False)
    second.setblocking(False)
    channels: tuple[Orders, Orders] = Channel(first, ORDERS), Channel(second, ORDERS)
    yield channels
    for channel in channels:
        channel.close()


def received(channel: Orders) -> list[tuple[int, int]]:
    """(key, number of descriptors) of everything that has arrived."""
    found = []
    while True:
        try:
            for message, descriptors in channel.receive():
                assert isinstance(message, Kill)
                found.append((message.key, len(descriptors)))
                for descriptor in descriptors:
                    os.close(descriptor)
        except BlockingIOError:
            return found


def test_descriptors_stay_with_their_messages(ends: tuple[Orders, Orders]) -> None:
    sender, receiver = ends
    read, write = os.pipe()
    for key in range(30):
        sender.send(Kill(key=key), [read, write][: key % 3])
    os.close(read)
    os.close(write)
    assert received(receiver) == [(key, key % 3) for key in range(30)]


def _sent_until_full(channel: Orders) -> int:
    for key in itertools.count():
        try:
            channel.send(Kill(key=key))
        except BlockingIOError:
            return key
    raise AssertionError


def test_a_full_channel_says_so_and_loses_nothing(ends: tuple[Orders, Orders]) -> None:
    sender, receiver = ends
    sent = _sent_until_full(sender)
    assert sent > 10
    assert received(receiver) == [(key, 0) for key in range(sent)]


def test_the_end_of_the_other_side_is_seen(ends: tuple[Orders, Orders]) -> None:
    sender, receiver = ends
    sender.close()
    with pytest.raises(EOFError):
        receiver.receive()


def test_the_end_is_seen_with_unread_messages_of_ours(ends: tuple[Orders, Orders]) -> None:
    sender, receiver = ends
    receiver.send(Kill(key=1))
    sender.close()
    with pytest.raises(EOFError):
        receiver.receive()


def test_descriptors_that_arrive_are_not_inherited() -> None:
    ours, theirs = pair()
    with ours, theirs:
        sender: Orders = Channel(ours, ORDERS)
        receiver: Orders = Channel(theirs, ORDERS)
        sender.send(Kill(key=1), [ours.fileno()])
        ((_, (descriptor,)),) = receiver.receive()
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
