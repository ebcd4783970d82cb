"""How a download is called: the Content-Disposition header (RFC 6266, RFC 8187)."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote

_MAX_BYTES = 200  # percent-encoded twice (header, then URL) it stays far below the 8 KiB of a line
_MAX_SUFFIX_BYTES = 20
_MAX_READ = 10_000  # characters, of both ends: of what is longer nothing else would be left
_ATTR_CHARS = "!#$&+-.^_`|~"  # what RFC 8187 leaves as it is, beside letters and digits

# Control, format, half of a pair, unassigned, private use.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Cn", "Co"})

# Browsers show these without running anything in them; HTML, SVG and XML are not among them.
_HARMLESS = ("image/", "audio/", "video/")
_HARMLESS_TYPES = frozenset({"application/pdf", "text/plain"})


def content_disposition(name: str, *, inline: bool = False) -> str:
    """The header's value for a file called `name`, whatever a client put into that name."""
    name = clean_name(name)
    kind = "inline" if inline else "attachment"
    encoded = quote(name.encode(), safe=_ATTR_CHARS)
    return f"{kind}; filename=\"{_ascii(name)}\"; filename*=UTF-8''{encoded}"


def may_show(content_type: str) -> bool:
    """Whether a browser may show this type instead of saving it."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in _HARMLESS_TYPES or (
        media_type.startswith(_HARMLESS) and not media_type.endswith("+xml")
    )


def clean_name(name: str) -> str:
    """`name` as one harmless, printable path segment of at most 200 bytes of UTF-8.

    Control and format characters go, so that no name breaks a header or shows its ending
    backwards (U+202E); separators become underscores. The suffix outlives the shortening.
    """
    name = name if len(name) <= _MAX_READ else name[: _MAX_READ // 2] + name[-_MAX_READ // 2 :]
    name = "".join(
        " " if char.isspace() else char
        for char in name.replace("/", "_").replace("\\", "_")
        if unicodedata.category(char) not in _INVISIBLE or char in "\t\n"
    )
    name = _shortened(unicodedata.normalize("NFC", name).strip(" ."))
    return name or "download"


def _shortened(name: str) -> str:
    if len(name.encode()) <= _MAX_BYTES:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        suffix = ""
    room = _MAX_BYTES - len(suffix.encode())
    stem = name.removesuffix(suffix).encode()[:room].decode(errors="ignore")
    return stem.rstrip(" .") + suffix


def _ascii(name: str) -> str:
    """The name for clients that do not know `filename*`; nothing in it needs an escape."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = "".join("_" if char in '"\\%;' else char for char in plain).strip(" .")
    return plain or "download"
