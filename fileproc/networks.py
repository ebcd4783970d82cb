"""Addresses and networks as operators write them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network


def networks(text: str) -> list[IPv4Network | IPv6Network]:
    """From `10.0.0.0/8, 192.168.1.5`; an address alone is a network of one.

    Raises:
        ValueError: one is neither.
    """
    return [ip_network(item.strip()) for item in text.split(",") if item.strip()]
