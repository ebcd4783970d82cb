"""Binary file types by their signatures: what the first bytes say, and nothing else.

Sources: the formats' specifications; for ISO media files the registered brands
(mp4ra.org), for the order of checks the WHATWG MIME Sniffing Standard where it speaks.
"""

from __future__ import annotations

from collections.abc import Callable

# (offset, bytes, media type); the first that holds wins.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00\x08\x00\x00\x00", "image/tiff"),
    (0, b"MM\x00+\x00\x08\x00\x00", "image/tiff"),
    (0, b"\xff\x0a", "image/jxl"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"\xff\x4f\xff\x51", "image/jp2"),
    (0, b"8BPS\x00\x01", "image/vnd.adobe.photoshop"),
    (0, b"\x00\x00\x01\x00", "image/vnd.microsoft.icon"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"PK\x07\x08", "application/zip"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"ARROW1\x00\x00", "application/vnd.apache.arrow.file"),
    (0, b"\xff\xff\xff\xff\x10\x00\x00\x00", "application/vnd.apache.arrow.stream"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"{\\rtf1", "application/rtf"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (0, b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (0, b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\x00asm", "application/wasm"),
    (257, b"ustar", "application/x-tar"),
)

_BRANDS: dict[bytes, str] = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
}
_RIFF = {
    b"WEBP": "image/webp",
    b"WAVE": "audio/wav",
    b"AVI ": "video/x-msvideo",
}
_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_PDF_WINDOW = 1024  # readers accept the header this late (PDF 1.7, implementation note 13)


def binary_type(head: bytes) -> str | None:
    """The media type that a signature names, or None. `head` is up to 64 KiB."""
    for offset, magic, media_type in _MAGIC:
        if head.startswith(magic, offset):
            return media_type
    for check in _CHECKS:
        if found := check(head):
            return found
    return None


def _riff(head: bytes) -> str | None:
    return _RIFF.get(head[8:12]) if head[:4] in {b"RIFF", b"RF64"} else None


def _iso_media(head: bytes) -> str | None:
    """MP4 and its family: `ftyp`, a major brand, then the compatible ones."""
    if head[4:8] != b"ftyp":
        return "video/quicktime" if head[4:8] in {b"moov", b"mdat", b"wide"} else None
    end = min(int.from_bytes(head[:4], "big"), len(head), 4096)
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))]
    if brands[0] in {b"mif1", b"msf1"}:  # "some image": the compatible brands say which
        return next((_BRANDS[b] for b in brands[1:] if b in _BRANDS), "image/heif")
    return _BRANDS.get(brands[0], "video/mp4")


def _matroska(head: bytes) -> str | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "video/webm" if b"webm" in head[:4096] else "video/x-matroska"


def _ogg(head: bytes) -> str | None:
    if not head.startswith(b"OggS"):
        return None
    return "video/ogg" if b"\x80theora" in head[:512] else "audio/ogg"


def _bzip2(head: bytes) -> str | None:
    blocks = (b"1AY&SY", b"\x17rE8P\x90")
    good = head[:3] == b"BZh" and head[3:4] in b"123456789" and head[4:10] in blocks
    return "application/x-bzip2" if good else None


def _bmp(head: bytes) -> str | None:
    size = int.from_bytes(head[14:18], "little")
    return "image/bmp" if head[:2] == b"BM" and size in _BMP_HEADER_SIZES else None


def _pe(head: bytes) -> str | None:
    """A DOS stub; that of Windows points at `PE`. Text that begins with MZ has no NUL."""
    if head[:2] != b"MZ" or b"\x00" not in head[:64]:
        return None
    return "application/vnd.microsoft.portable-executable"


def _fat_mach_or_class(head: bytes) -> str | None:
    """0xCAFEBABE begins both: a fat binary counts few architectures, Java's version is >= 45."""
    if not head.startswith(b"\xca\xfe\xba\xbe"):
        return None
    few = 0 < int.from_bytes(head[4:8], "big") < 45  # noqa: PLR2004 - see above
    return "application/x-mach-binary" if few else "application/java-vm"


def _pdf(head: bytes) -> str | None:
    return "application/pdf" if b"%PDF-" in head[:_PDF_WINDOW] else None


def _mpeg_audio(head: bytes) -> str | None:
    """ADTS (AAC), or an MPEG audio frame that is followed by another of the same kind."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - the sync word
        return None
    if head[1] & 0xF6 == 0xF0:  # noqa: PLR2004 - layer 0 is ADTS
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return "audio/aac" if _repeats(head, length) else None
    frame = _frame_length(head[1], head[2])
    return "audio/mpeg" if frame and _repeats(head, frame) else None


def _repeats(head: bytes, length: int) -> bool:
    following = head[length : length + 2]
    return length > 6 and (not following or following == head[:2])  # noqa: PLR2004 - a header


_BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES = (44100, 48000, 32000)


def _frame_length(second: int, third: int) -> int | None:
    """Bytes of an MPEG-1 layer III frame; None for what is not one."""
    layer3 = second & 0xFE == 0xFA  # noqa: PLR2004 - version 1, layer III
    bitrate, rate = third >> 4, (third >> 2) & 3
    if not layer3 or not 0 < bitrate < len(_BITRATES) or rate >= len(_RATES):
        return None
    return 144_000 * _BITRATES[bitrate] // _RATES[rate] + (third >> 1 & 1)


_CHECKS: tuple[Callable[[bytes], str | None], ...] = (
    _riff,
    _iso_media,
    _matroska,
    _ogg,
    _bzip2,
    _bmp,
    _pe,
    _fat_mach_or_class,
    _mpeg_audio,
    _pdf,
)
