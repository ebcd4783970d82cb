"""Whose request it is, behind proxies and in front of liars."""

from __future__ import annotations

import pytest

from fileproc.api.addresses import UNKNOWN, address_of
from fileproc.networks import networks
from fileproc.rates import Rate, parse_rate

PROXIES = networks("10.0.0.0/8, 192.168.7.1, fd00::/8")


def from_peer(peer: str | None, *forwarded: str) -> str:
    return address_of(peer, forwarded, PROXIES)


def test_whoever_is_no_proxy_of_ours_is_not_believed() -> None:
    for said in ("1.2.3.4", "10.0.0.9", "1.2.3.4, 10.0.0.9", "127.0.0.1", "", "x"):
        assert from_peer("203.0.113.5", said) == "203.0.113.5"


@pytest.mark.parametrize(
    ("said", "client"),
    [
        (["203.0.113.5"], "203.0.113.5"),
        (["1.1.1.1, 203.0.113.5"], "203.0.113.5"),  # the client made up the first
        (["1.1.1.1", "203.0.113.5"], "203.0.113.5"),  # in a line of its own
        (["203.0.113.5, 10.2.2.2, 192.168.7.1"], "203.0.113.5"),  # three proxies in a row
        (["1.1.1.1, 203.0.113.5, 10.2.2.2"], "203.0.113.5"),
        (["1.1.1.1, 192.168.7.2, 10.2.2.2"], "192.168.7.2"),  # a neighbour is no proxy
        (["203.0.113.5:4711"], "203.0.113.5"),
        (["[2001:db8:1:2:3::5]:4711"], "2001:db8:1:2::/64"),
        (["2001:db8:1:2:ffff::1"], "2001:db8:1:2::/64"),
        (["::ffff:203.0.113.5"], "203.0.113.5"),
        (["fe80::1%eth0"], "fe80::/64"),
        (["1.1.1.1, unknown"], "10.0.0.1"),  # what is no address ends the way back
        (["1.1.1.1, 203.0.113.5\x00"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        (["10.0.0.5"], "10.0.0.5"),  # from within
        ([",".join(["1.1.1.1"] * 5000 + ["203.0.113.5"])], "203.0.113.5"),
        ([",".join(["1.1.1.1"] + ["10.0.0.1"] * 500)], "10.0.0.1"),
    ],
)
def test_list_is_read_from_its_end_as_long_as_proxies_of_ours_wrote_it(
    said: list[str], client: str
) -> None:
    assert from_peer("10.0.0.1", *said) == client


def test_peer_without_an_address_is_unknown() -> None:
    assert from_peer("", "1.1.1.1") == UNKNOWN
    assert from_peer(None, "1.1.1.1") == UNKNOWN
    assert from_peer("::ffff:10.0.0.1", "203.0.113.5") == "203.0.113.5"


def test_networks_are_told_by_their_names() -> None:
    assert networks("") == []
    for wrong in ("10.0.0.0/33", "10.0.0.1/8", "proxy", "*", "1.1.1.1;2.2.2.2"):
        with pytest.raises(ValueError, match=r"does not appear|host bits"):
            networks(wrong)


def test_rate_is_a_number_and_a_window() -> None:
    assert parse_rate("100/second") == Rate(100, 1)
    assert parse_rate(" 6000/Minute ") == Rate(6000, 60)
    assert parse_rate("5/hour") == Rate(5, 3600)
    assert parse_rate("50/10s") == Rate(50, 10)
    assert parse_rate("off") is None
    for wrong in ("", "0/second", "-1/second", "1/day", "1/0s", "100001/second", "1.5/second", "5"):
        with pytest.raises(ValueError, match="must be off, or a number"):
            parse_rate(wrong)
