"""Which addresses may be called: our own table, as `ipaddress.is_global` has gaps and changes.

Sources: the IANA registries of special-purpose addresses (RFC 6890) for IPv4 and IPv6, and what
clouds keep at addresses of their own. Of IPv6 only 2000::/3 is given out at all, less what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_DENIED: Final = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by carriers",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's own",  # Azure's host agent, in public space
    "169.254.0.0/16": "link-local",  # with 169.254.169.254, the metadata of most clouds
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "documentation",
    "192.31.196.0/24": "reserved",
    "192.52.193.0/24": "reserved",
    "192.88.99.0/24": "reserved",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "reserved",
    "198.18.0.0/15": "benchmarking",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",  # with the broadcast address
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "IPv4 in IPv6",
    "64:ff9b::/96": "IPv4 in IPv6",
    "64:ff9b:1::/48": "IPv4 in IPv6",
    "100::/64": "discard",
    "fc00::/7": "private",  # with fd00:ec2::254, the metadata of AWS
    "fe80::/10": "link-local",
    "fec0::/10": "private",
    "ff00::/8": "multicast",
    "2001::/32": "IPv4 in IPv6",  # Teredo
    "2001::/23": "reserved",  # protocol assignments: benchmarking, ORCHID, ...
    "2001:db8::/32": "documentation",
    "2002::/16": "IPv4 in IPv6",  # 6to4
    "2620:4f:8000::/48": "reserved",
    "3ffe::/16": "reserved",
    "3fff::/20": "documentation",
    # What is not given out at all: everything but 2000::/3.
    "::/3": "reserved",
    "4000::/2": "reserved",
    "8000::/1": "reserved",
}

_TABLE: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(text), why) for text, why in _DENIED.items()
)

_MAPPED: Final = IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2
_TRANSLATED: Final = IPv6Network("::ffff:0:0:0/96")  # RFC 2765
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291, 2.5.5.1
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_6TO4: Final = IPv6Network("2002::/16")  # RFC 3056
_TEREDO: Final = IPv6Network("2001::/32")  # RFC 4380
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214, 6.1
_LOW_32: Final = 0xFFFF_FFFF


class Networks(tuple[Network, ...]):
    """Networks that the operator permits though the table does not."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Networks:
        """From CIDRs or single addresses, separated by commas.

        Raises:
            ValueError: one of them is none, or has bits beyond its prefix.
        """
        return cls(ip_network(item.strip()) for item in text.split(",") if item.strip())

    def permit(self, address: Address) -> bool:
        """Whether one of them holds the address."""
        return any(address in network for network in self)


def refusal(address: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why this address may not be called (`loopback`, `private`, ...); None: it may.

    An IPv6 address that carries an IPv4 one is judged as both: a translator on the way would
    deliver to the inner one.

    Args:
        address: as sockets tell it; a scope id (`%eth0`) may follow.
        allowed: networks that the operator permits.
    """
    try:
        outer = ip_address(address.partition("%")[0])
    except ValueError:
        return "not an address"
    for each in (outer, *_embedded(outer)):
        if any(each in network for network in allowed):
            continue
        for network, why in _TABLE:
            if each in network:
                return why
    return None


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """IPv4 addresses that this one may stand for."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if any(address in net for net in (_MAPPED, _TRANSLATED, _COMPATIBLE, _NAT64, _NAT64_LOCAL)):
        yield IPv4Address(number & _LOW_32)
    if address in _6TO4:
        yield IPv4Address(number >> 80 & _LOW_32)
    if address in _TEREDO:
        yield IPv4Address(number >> 64 & _LOW_32)  # the server
        yield IPv4Address(~number & _LOW_32)  # the client, each bit flipped
    if number >> 32 & _LOW_32 in _ISATAP:
        yield IPv4Address(number & _LOW_32)
