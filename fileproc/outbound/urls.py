"""What can be known of a URL without asking anybody: its form, its port, an address in it.

Two programs that read a URL differently are how a guard is passed. So only one plain form is taken
(RFC 3986, ASCII, no user, a host in its one canonical spelling), and what is checked is the very
object that the request is made with.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from yarl import URL

from fileproc.errors import UrlNotAllowedError
from fileproc.outbound.addresses import Networks, refusal
from fileproc.settings import Settings, outbound_ports

MAX_URL_CHARS: Final = 4_096

_AUTHORITY = re.compile(r"(?i:(https?))://([^/?#]*)(?:[/?#].*)?", re.DOTALL)
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029]")
_MAX_NAME_CHARS: Final = 253
_MAX_PORT: Final = 65_535


def check_url(url: str | URL, settings: Settings) -> URL:
    """The URL as it may be requested; what a name leads to is judged when it is called.

    Raises:
        UrlNotAllowedError: the scheme is not http or https, it has a user, its host is no name and
            no address in canonical form, or the port or address is not allowed.
    """
    text = str(url)
    if len(text) > MAX_URL_CHARS:
        raise UrlNotAllowedError(f"The URL is longer than {MAX_URL_CHARS:,} characters.")
    if _UNSAFE.search(text):
        raise UrlNotAllowedError(
            "The URL has a space, a backslash or a control character: encode it with %."
        )
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise UrlNotAllowedError("Only URLs that begin with http:// or https:// are allowed.")
    scheme, authority = found[1].lower(), found[2]
    if "@" in authority:
        raise UrlNotAllowedError("The URL must not have a user or password before its host.")
    parts = _HOST_AND_PORT.fullmatch(authority)
    if parts is None:
        raise UrlNotAllowedError("The URL's host or port is not well-formed.")
    allowed = Networks.parse(settings.outbound_allow)
    _check_port(int(parts[2] or (443 if scheme == "https" else 80)), settings)
    _check_host(parts[1], allowed)
    return _parsed(text, parts[1])


def _check_port(port: int, settings: Settings) -> None:
    if port > _MAX_PORT or not any(port in ports for ports in outbound_ports(settings)):
        raise UrlNotAllowedError(
            f"The port {port} is not allowed; allowed are {settings.outbound_ports}."
        )


def _check_host(host: str, allowed: Networks) -> None:
    if host.startswith("["):
        _check_address(_ipv6(host[1:-1]), allowed)
        return
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # WHATWG URL, "ends in a number": meant as an address
        _check_address(_ipv4(host), allowed)
        return
    if len(host) > _MAX_NAME_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise UrlNotAllowedError(
            "The URL's host is not a plain name: letters, digits and hyphens, no dot at the end; "
            "international names in their xn-- form."
        )
    if labels[-1].lower() == "localhost" and refusal("127.0.0.1", allowed):
        raise UrlNotAllowedError("The URL's host is not allowed: it is this machine.")


def _ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))  # four decimal numbers, no leading zeros
    except AddressValueError:
        raise UrlNotAllowedError(
            "An IPv4 address must be four decimal numbers, such as 192.0.2.1."
        ) from None


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise UrlNotAllowedError("The URL's host is not an IPv6 address.")
    return str(address)


def _check_address(address: str, allowed: Networks) -> None:
    if why := refusal(address, allowed):
        raise UrlNotAllowedError(f"The URL's address is not allowed: {why}.")


def _parsed(text: str, host: str) -> URL:
    """As the client library reads it, which must be as we did."""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise UrlNotAllowedError("The URL cannot be parsed.") from None
    seen = url.raw_host or ""
    same = seen.lower() == host.strip("[]").lower() or _same_address(seen, host.strip("[]"))
    if not same or port is None or url.raw_user or url.raw_password:
        raise UrlNotAllowedError("The URL can be read in more than one way.")
    return url


def _same_address(one: str, other: str) -> bool:
    try:
        return IPv6Address(one) == IPv6Address(other)
    except AddressValueError:
        return False
