"""Archives that mean harm, made on the spot; and encrypted ones, which no library here writes."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import hmac
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable

from Crypto.Cipher import AES
from Crypto.Util import Counter

from fileproc.operations.compression import zstd

MIB = 1024 * 1024
ZEROS = bytes(48 * MIB)
ZIP, TAR = "application/zip", "application/x-tar"
GZIP, BZIP2, XZ, ZSTD = (
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/zstd",
)


# --- tar -------------------------------------------------------------------------------------


def tar(*files: tuple[str | tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of entries by name or by a header of its own, and content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def header(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def long_header() -> bytes:
    """An extended header of 40 MiB, as a name might be."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 40 * MIB
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(40 * MIB) + bytes(1024)


# --- ZIP -------------------------------------------------------------------------------------


def packed(
    *files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data, method)
    return buffer.getvalue()


def zip_entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


class Part:
    """One entry of a ZIP that is written by hand: the list can say anything."""

    def __init__(self, name: bytes, data: bytes, **claims: int) -> None:
        self.name, self.data = name, data
        self.claims = {
            "flags": 0,
            "method": 0,
            "crc": zlib.crc32(data),
            "packed": len(data),
            "size": len(data),
            **claims,
        }
        self.extra = b""

    def local(self) -> bytes:
        claims = self.claims
        head = struct.pack(
            "<4sHHHHHIIIHH", b"PK\x03\x04", 45, claims["flags"], claims["method"], 0, 33,
            claims["crc"], *self._sizes(), len(self.name), len(self.extra),
        )  # fmt: skip
        return head + self.name + self.extra + self.data

    def _sizes(self) -> tuple[int, int]:
        return tuple(min(self.claims[key], 0xFFFFFFFF) for key in ("packed", "size"))  # type: ignore[return-value]  # two of them

    def listed(self, offset: int) -> bytes:
        claims, extra = self.claims, self.extra
        if claims["size"] >= 0xFFFFFFFF:
            extra += struct.pack("<HHQ", 1, 8, claims["size"])
        head = struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 45, 45, claims["flags"], claims["method"], 0, 33,
            claims["crc"], *self._sizes(), len(self.name), len(extra), 0, 0, 0, 0,
            claims.get("offset", offset),
        )  # fmt: skip
        return head + self.name + extra


def assembled(parts: Iterable[Part]) -> bytes:
    parts = list(parts)
    body, listed = bytearray(), bytearray()
    for part in parts:
        listed += part.listed(len(body))
        if "offset" not in part.claims:
            body += part.local()
    end = struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(parts) & 0xFFFF, len(parts) & 0xFFFF,
        len(listed), len(body), 0,
    )  # fmt: skip
    return bytes(body + listed) + end


def deflated(data: bytes) -> bytes:
    squeezer = zlib.compressobj(9, wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


def shared_by_all() -> bytes:
    """Each entry is the same stretch of the file, under another name."""
    first = Part(b"name", deflated(ZEROS[:99_000]), method=8, crc=0, size=99_000)
    return assembled(
        [first, *(Part(b"n%03d" % i, first.data, **first.claims, offset=0) for i in range(200))]
    )


def shared_by_quoting() -> bytes:
    """Each entry holds the headers of those behind it as data, down to a common kernel."""
    parts: list[Part] = []
    data = random.Random(1).randbytes(30_000)
    for i in range(100):
        part = Part(b"q%02d" % i, data)
        parts.insert(0, part)
        data = part.local()
    body = parts[0].local()
    listed, offset = b"", 0
    for part in parts:
        listed += part.listed(offset)
        offset += 33
    return body + listed + struct.pack(
        "<4sHHHHIIH", b"PK\x05\x06", 0, 0, 100, 100, len(listed), len(body), 0
    )  # fmt: skip


def crowd(count: int) -> bytes:
    return assembled(Part(b"%x" % i, b"") for i in range(count))


def crowd_of_tar(count: int) -> bytes:
    plain = bytearray(tarfile.TarInfo("0").tobuf(tarfile.USTAR_FORMAT))
    out = bytearray()
    for i in range(count):
        plain[:8] = b"%08x" % i
        plain[148:156] = b" " * 8
        plain[148:156] = b"%06o\0 " % sum(plain)
        out += plain
    return bytes(out) + bytes(1024)


def liar(says: int, holds: bytes) -> bytes:
    """An entry that says another size than it has."""
    crc = zlib.crc32(holds)
    return assembled([Part(b"liar", deflated(holds), method=8, crc=crc, size=says)])


def lie_of_tar() -> bytes:
    """A file of a terabyte, it says, and then nothing."""
    info = tarfile.TarInfo("large")
    info.size = 2**40
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def astray(data: bytes, offset: int) -> bytes:
    """A ZIP file whose list says that the first entry begins there; below 0 is before the file."""
    if offset < 0:  # the list is said to be further on than it is, and all else with it
        at = data.rindex(b"PK\x05\x06") + 16
        (place,) = struct.unpack_from("<I", data, at)
        return data[:at] + struct.pack("<I", place - offset) + data[at + 4 :]
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.filelist[0].header_offset = offset
        archive.comment = b"written anew"
    return buffer.getvalue()


def nested(levels: int) -> bytes:
    """Archives in an archive, each ten times over."""
    data = packed(("zeros", ZEROS[:100_000]))
    for _ in range(levels):
        data = packed(*((f"{i}.zip", data) for i in range(10)))
    return data


BOMBS: dict[str, Callable[[], tuple[bytes, str]]] = {
    "ratio": lambda: (packed(("zeros", ZEROS)), ZIP),
    "ratio by bzip2": lambda: (packed(("zeros", ZEROS), method=zipfile.ZIP_BZIP2), ZIP),
    "ratio of many": lambda: (packed(*((f"{i}", ZEROS[:90_000]) for i in range(400))), ZIP),
    "ratio, encrypted": lambda: (aes(b"zeros", ZEROS, "sesame"), ZIP),
    "tar.gz": lambda: (gzip.compress(tar(("zeros", ZEROS)), 6), GZIP),
    "tar.bz2": lambda: (bz2.compress(tar(("zeros", ZEROS))), BZIP2),
    "tar.xz": lambda: (lzma.compress(tar(("zeros", ZEROS)), preset=1), XZ),
    "tar.zst": lambda: (zstd().compress(tar(("zeros", ZEROS))), ZSTD),
    "long header": lambda: (long_header(), TAR),
    "overlap": lambda: (shared_by_all(), ZIP),
    "overlap by quoting": lambda: (shared_by_quoting(), ZIP),
    "many entries": lambda: (crowd(25_000), ZIP),
    "many entries of tar": lambda: (crowd_of_tar(25_000), TAR),
    "zip64 lie": lambda: (liar(2**62, b"a" * 99), ZIP),
    "small lie": lambda: (liar(100, random.Random(2).randbytes(50_000)), ZIP),
    "lie of tar": lambda: (lie_of_tar(), TAR),
    "depth": lambda: (packed(("/".join("a" * 100), b"")), ZIP),
}


# --- encrypted -------------------------------------------------------------------------------


def old_cipher(name: bytes, data: bytes, password: str, *, later: bool = False) -> bytes:
    """PKWARE's cipher (APPNOTE.TXT, 6.1); with `later` its check is against the time."""
    squeezed, crc = deflated(data), zlib.crc32(data)
    keys = [0x12345678, 0x23456789, 0x34567890]
    table = [zlib.crc32(bytes([i]), 0xFFFFFFFF) ^ 0xFFFFFFFF for i in range(256)]

    def update(byte: int) -> None:
        keys[0] = keys[0] >> 8 ^ table[(keys[0] ^ byte) & 255]
        keys[1] = (keys[1] + (keys[0] & 255)) * 134775813 + 1 & 0xFFFFFFFF
        keys[2] = keys[2] >> 8 ^ table[(keys[2] ^ keys[1] >> 24) & 255]

    def encrypt(plain: bytes) -> bytes:
        out = bytearray()
        for byte in plain:
            mixed = keys[2] | 2
            out.append(byte ^ (mixed * (mixed ^ 1) >> 8) & 255)
            update(byte)
        return bytes(out)

    for byte in password.encode():
        update(byte)
    check = 0 if later else crc >> 24
    body = encrypt(bytes(11) + bytes([check]) + squeezed)
    return assembled([Part(name, body, flags=9 if later else 1, method=8, crc=crc, size=len(data))])


def aes(name: bytes, data: bytes, password: str) -> bytes:
    """WinZip's AE-2 with AES-256, deflated."""
    salt = bytes(range(16))
    keys = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, 1000, 66)
    cipher = AES.new(keys[:32], AES.MODE_CTR, counter=Counter.new(128, little_endian=True))
    body = cipher.encrypt(deflated(data))
    seal = hmac.digest(keys[32:64], body, "sha1")[:10]
    part = Part(name, salt + keys[64:] + body + seal, flags=1, method=99, crc=0, size=len(data))
    part.extra = struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", 3, 8)
    return assembled([part])
