"""What goes out to addresses that clients name: guarded, so that it reaches no network of ours.

A server that fetches URLs for others can be made to call its own neighbours (OWASP API7:2023). The
guard stands where it cannot be talked round: at the address of the socket. How a URL is spelled,
what a name resolves to, and where a redirect leads are judged too, before and on every hop.

    async with open_outbound(settings) as outbound:
        url = check_url(text, settings)            # when it is submitted: no DNS, no network
        async with outbound.session.post(url, data=body, allow_redirects=False) as answer:
            ...

Both raise `UrlNotAllowedError`; the session raises it out of the request, before a byte is sent.
"""

from fileproc.outbound.addresses import Networks, refusal
from fileproc.outbound.download import Download, Room, open_download, timed_out
from fileproc.outbound.guard import Outbound, open_outbound
from fileproc.outbound.sending import put_file
from fileproc.outbound.urls import MAX_URL_CHARS, check_url

__all__ = [
    "MAX_URL_CHARS",
    "Download",
    "Networks",
    "Outbound",
    "Room",
    "check_url",
    "open_download",
    "open_outbound",
    "put_file",
    "refusal",
    "timed_out",
]
