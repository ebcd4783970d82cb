"""Who may ask an api that demands no key: programs of this machine, and pages that belong to it.

Without keys it is the address alone that keeps others out, and a browser on this machine takes the
pages of everybody inside. Two checks turn those away. The name in `Host` must be one that nobody
else can point here (DNS rebinding: a page of `evil.example` whose name now leads to 127.0.0.1 is of
our own origin, as far as the browser can tell, but says its name). And what changes something must
not come from a page of another origin (a form needs no permission of ours to be sent).

Sources: RFC 9110, 7.2 and 15.5.20; the Fetch standard ("Origin"); W3C, "Fetch Metadata Request
Headers" (`Sec-Fetch-Site`, which no page can set).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from fileproc.errors import HostNotAllowedError, OriginNotAllowedError
from fileproc.settings import names
from fileproc.telemetry import VISITORS_REFUSED

if TYPE_CHECKING:
    from aiohttp import web

    from fileproc.settings import Settings

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")
SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_SCHEMES: Final = ("http", "https")  # a proxy may have taken TLS away
_OWN_SITE: Final = frozenset({"same-origin", "none"})  # none: the person at the browser


def check_visitor(settings: Settings, request: web.Request) -> None:
    """Before anything else is looked at, where no key is asked for.

    Raises:
        HostNotAllowedError: the request is for another name.
        OriginNotAllowedError: a page of another origin wants to change something.
    """
    allowed = settings.allowed_hosts
    for host in request.headers.getall(hdrs.HOST, ()):
        if not _is_ours(host, allowed):
            VISITORS_REFUSED.labels("host").inc()
            raise HostNotAllowedError(
                "Without keys this server is asked by address or as localhost, and by no other "
                "name, unless FILEPROC_ALLOWED_HOSTS has it."
            )
    if request.method not in SAFE and not _of_own_page(settings, request):
        VISITORS_REFUSED.labels("origin").inc()
        raise OriginNotAllowedError(
            "Without keys a page of another origin changes nothing here, unless "
            "FILEPROC_CORS_ORIGINS names it."
        )


@lru_cache(maxsize=128)  # of each request, and most say the same
def _is_ours(host: str, allowed: str) -> bool:
    """Whether nobody else can make a browser send this name here.

    An address is never looked up, so it cannot be rebound; browsers know localhost by themselves.
    """
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return False
    name = found[1].removesuffix(".")
    if name in names(allowed) or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _of_own_page(settings: Settings, request: web.Request) -> bool:
    """Whether it comes from no page at all, or from one that may do this."""
    sites = request.headers.getall("Sec-Fetch-Site", ())
    pages = request.headers.getall(hdrs.ORIGIN, ())
    if sites and all(site in _OWN_SITE for site in sites):
        return True
    if not pages:
        return not sites
    own = {f"{scheme}://{request.headers.get(hdrs.HOST, '')}".lower() for scheme in _SCHEMES}
    return all(page in own | (names(settings.cors_origins) - {"*"}) for page in pages)
