"""Where a request comes from, as far as that can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

UNKNOWN: Final = "unknown"  # a Unix socket, or a connection that is gone already
MOST_HOPS: Final = 20

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def address_of(peer: str | None, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address to count a stranger's requests by; of IPv6 the network that one customer has.

    Args:
        peer: the address of the connection.
        forwarded: values of the header X-Forwarded-For, a line each.
        proxies: networks of the proxies that are believed.

    Whoever sends a request may write anything into X-Forwarded-For, and each proxy appends the
    address that it saw. So the list is read from its end, as long as the one who appended is a
    proxy of ours. `Forwarded` and `X-Real-IP` are never read: a proxy that does not set them would
    pass on what a client made up.
    """
    hop = _parsed(peer or "")
    if hop is None:
        return UNKNOWN
    if proxies and _within(hop, proxies):
        said = ",".join(forwarded).split(",")
        for entry in reversed(said[-MOST_HOPS:]):
            before = _parsed(entry)
            if before is None:  # not an address: the one who wrote it is the last we know
                break
            hop = before
            if not _within(hop, proxies):
                break
    return _group(hop)


def _parsed(text: str) -> Address | None:
    """An address, also with a port, in brackets or with a zone; IPv4 in IPv6 is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _group(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, 64), strict=False))
