"""Texts that mean harm to whoever takes them for more than texts, from a seed."""

from __future__ import annotations

import random

_PIECES = [
    *("-", "--", "-o", "--help", "-rf", "@", "@/etc/passwd", "file:///etc/passwd", "http://[::1]/"),
    *("../", "..\\", "/", "\\", "C:", "//server/", "~", ".", "..", " ", "%2e%2e%2f", "%00", "%s"),
    *("%n", "%(x)s", "{0}", "{x}", "{0.__class__}", "${x}", "$(id)", "$1", "$var", "`id`", ";"),
    *("|", "&", "<", ">", "'", '"', "''", '""', "--'", "/*", "*/", "'; DROP TABLE data; --", "?"),
    *("*", "[a]", "[!", "(a+)+$", "\\1", ",", ":", "=", "+", "=1+1", "NULL", "null", "nan", "true"),
    *("1e999", "00", "-0", "0x1", "CON", "NUL.txt", "aux", ".htaccess", "a.tar.gz", "<script>"),
    *(
        "\u202e",
        "\u2215",
        "\uff0f",
        "\u2044",
        "\u0130",
        "\u00df",
        "e\u0301",
        "\ufb01",
        "\U0001f600",
    ),
    *("\u200b", "\ufeff", "\u2028", "\x7f", "\x85", "a", "Z", "9", "x" * 50, "\u4e16" * 40),
]
CONTROLS = ["\x00", "\r\n", "\t", "\x1b[31m", "\n", "\b"]


def texts(count: int, *, seed: int, pieces: list[str] = _PIECES, most: int = 250) -> list[str]:
    """As many different ones: every piece by itself, then some put together."""
    chance = random.Random(seed)
    found = dict.fromkeys(pieces[:count])
    while len(found) < count:
        made = "".join(chance.choice(pieces) for _ in range(chance.randint(2, 6)))
        found[made[:most]] = None
    return list(found)


def names(count: int) -> list[str]:
    """Names of files, with what no name may hold, and much too long ones."""
    plain = texts(count - 4, seed=12, pieces=_PIECES + CONTROLS)
    return [*plain, "", "x" * 5_000, "." * 5_000 + "a", "../" * 2_000]
