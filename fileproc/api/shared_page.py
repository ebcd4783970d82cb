"""The page that a share link shows to a browser that must not be sent on at once."""

from __future__ import annotations

from html import escape
from typing import Final

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Download</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body class="link">
<main>
<h1>{name}</h1>
<form method="post">
{fields}<p><button type="submit">Download</button></p>
</form>
</main>
</body>
</html>
"""
_FIELD: Final = """<p><label for="password">{asks}</label></p>
<p><input id="password" name="password" type="password" required maxlength="200" autofocus
 autocomplete="off"></p>
"""


def page(name: str, *, password: bool, wrong: bool) -> str:
    """A button, and a field where a password is needed."""
    asks = "The password is wrong. Try again:" if wrong else "This file needs a password:"
    # A name tells something, too: whoever has no password is not told it.
    shown = "A file for you" if password else escape(name)
    return _PAGE.format(name=shown, fields=_FIELD.format(asks=asks) if password else "")
