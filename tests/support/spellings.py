"""URLs that lead, or try to lead, into networks that nobody may reach from outside."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

# One of each family of places that are none of a client's business.
INSIDE_4 = (
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
)
INSIDE_6 = (
    "::",
    "::1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002::1",
    "3ffe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456:789a::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
)
OUTSIDE = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "192.0.1.1", "2606:4700::1111", "2a00:1450::1")
_CIRCLED = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")
_FULL_WIDTH = str.maketrans("0123456789.", "０１２３４５６７８９．")  # noqa: RUF001 - on purpose


def embedded(address: str) -> Iterator[str]:
    """IPv6 addresses that carry this IPv4 one."""
    number = int(IPv4Address(address))
    flipped = number ^ 0xFFFF_FFFF
    high, low = number >> 16, number & 0xFFFF
    yield f"::ffff:{address}"
    yield f"::ffff:{high:x}:{low:x}"
    yield f"::ffff:0:{address}"
    yield f"::{address}"
    yield f"64:ff9b::{address}"
    yield f"64:ff9b:1::{address}"
    yield f"2002:{high:x}:{low:x}::1"
    yield f"2001:0:808:808::{flipped >> 16:x}:{flipped & 0xFFFF:x}"
    yield f"2001:0:{high:x}:{low:x}::f7f7:f7f7"
    yield f"2606:4700::5efe:{address}"
    yield f"2606:4700::200:5efe:{address}"


def odd(address: str) -> Iterator[str]:
    """Hosts that some program takes for this IPv4 address."""
    number = int(IPv4Address(address))
    a, b, c, d = address.split(".")
    octets = [int(part) for part in (a, b, c, d)]
    yield str(number)
    yield hex(number)
    yield f"0X{number:X}"
    yield f"0{number:o}"
    yield ".".join(map(hex, octets))
    yield ".".join(f"0{octet:o}" for octet in octets)
    yield ".".join(f"{octet:03d}" for octet in octets)
    yield f"{a}.{number & 0xFFFFFF}"
    yield f"{a}.{b}.{number & 0xFFFF}"
    yield f"0x{octets[0]:x}.{b}.{c}.{d}"
    yield f"{address}."
    yield f"{address}.."
    yield address.translate(_CIRCLED)
    yield address.translate(_FULL_WIDTH)
    yield address.replace(".", "。")
    yield address.replace(".", "%2e")
    yield f"%{ord(a[0]):02x}{address[1:]}"
    yield f"[{address}]"
    yield f"{address}%00"
    yield f"{address}%00.example.com"


def refused_urls(port: int) -> Iterator[str]:
    """More than 300, each with a port where a canary may listen; none may be called."""
    for address in INSIDE_4:
        yield f"http://{address}:{port}/"
        yield f"HTTPS://{address}:{port}/x?y#z"
    for address in INSIDE_6:
        yield f"http://[{address}]:{port}/"
        yield f"http://[{IPv6Address(address).exploded}]:{port}/"
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.1"):
        for carrier in embedded(address):
            yield f"http://[{carrier}]:{port}/"
        for host in odd(address):
            yield f"http://{host}:{port}/"
    here = f"127.0.0.1:{port}"
    for scheme in _SCHEMES:
        yield f"{scheme}{here}/"
    for host in _NAMES:
        yield f"http://{host}:{port}/"
    for form in _FORMS:
        yield form.format(here=here, port=port)


_SCHEMES = (
    "file:///etc/passwd#",
    "file://",
    "ftp://",
    "gopher://",
    "dict://",
    "ldap://",
    "tftp://",
    "sftp://",
    "ssh://",
    "telnet://",
    "redis://",
    "s3://",
    "ws://",
    "wss://",
    "unix://",
    "http+unix://",
    "jar:http://",
    "view-source:http://",
    "netdoc://",
    "data:text/plain,",
    "javascript:",
    "blob:http://",
    "about:",
    "//",
    "",
    "/",
    "http:",
    "http:/",
    "http:///",
    "http:\\\\",
    "ht\ttp://",
    "h\nttp://",
    " http://",
    "\x00http://",
    "https:",
    "httpx://",
    "http ://",
    "%68ttp://",
)
_NAMES = (
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "localhost.",
    "foo.localhost",
    "a.b.localhost",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",  # noqa: RUF001 - on purpose
    "local%68ost",
    "local\u00adhost",
    "local\u200bhost",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[v1.::1]",
    "[::1",
    "::1]",
    "[]",
    "",
    ".",
    "-",
    "..",
    "a..b",
    ".example.com",
    "example.com.",
    "-a.example",
    "a-.example",
    "b\u00fccher.example",
    "exa mple.com",
    "example.com\t",
    "x" * 64 + ".example",
    "a." * 127 + "example",
    "1.2.3",
    "1.2.3.4.5",
    "256.256.256.256",
    "1.2.3.0x10",
    "example.1",
    "0",
    "0x",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "017700000001",
    "00000000177.0.0.1",
    "1e3",  # a name, which nobody has
)
_FORMS = (
    "http://user@{here}/",
    "http://user:secret@{here}/",
    "http://:@{here}/",
    "http://@{here}/",
    "http://example.com@{here}/",
    "http://example.com:80@{here}/",
    "http://{here}@example.com/",
    "http://example.com#@{here}@/",
    "http://{here}#@example.com/",
    "http://{here}?@example.com/",
    "http://{here}\\@example.com/",
    "http://example.com\\@{here}/",
    "http://example.com%40{here}/",
    "http://example.com%23@{here}/",
    "http://example.com:80:{here}/",
    "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1 :{port}/",
    "http://127.0.0.1: {port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1:+{port}/",
    "http://127.0.0.1:-{port}/",
    "http://127.0.0.1:0{port}/",
    "http://127.0.0.1:0x50/",
    "http://127.0.0.1:{port}0000/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:/",
    "http://127.0.0.1:８０/",  # noqa: RUF001 - on purpose
    "http://127.0.0.1:²/",
    "http://{here}/a b",
    "http://{here}/a\r\nHost: example.com",
    "http://{here}/a\u2028b",
    "http://{here}\r\n/",
    "http://{here};/",
    "http://{here},example.com/",
    "http://example.com,{here}/",
    "http://[{here}]/",
    "http://[::1]{here}/",
    "http://[::1]x:{port}/",
    "http://x[::1]:{port}/",
    "http://[[::1]]:{port}/",
    "http://127.0.0.1／:{port}/",  # noqa: RUF001 - on purpose
    "http://127.0.0.1／x/",  # noqa: RUF001 - on purpose
    "http://{{{here}}}/",
    "http://${{{here}}}/",
    "http://`{here}`/",
    'http://"{here}"/',
    "http://<{here}>/",
    "http://|{here}/",
    "http://^{here}/",
)
