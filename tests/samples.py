"""Files that tests feed to operations, made on the spot, and `Work` around them."""

from __future__ import annotations

import base64
import bz2
import datetime as dt
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageStat

from fileproc.operations import Input, Limits, Work, find
from fileproc.operations.compression import zstd
from fileproc.operations.types import detect_file
from films import film as film_file

CORNERS = {"red": (0, 0), "lime": (1, 0), "blue": (0, 1), "yellow": (1, 1)}
_TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


# --- running an operation --------------------------------------------------------------------


@dataclass
class Ran:
    """An operation that has run: its `Work`, and what it said about its progress."""

    work: Work
    reports: list[tuple[str, float, float | None, str | None]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        assert len(self.work.outputs) == 1
        return self.work.outputs[0].path

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    def image(self, index: int = 0) -> Image.Image:
        return Image.open(io.BytesIO(self.work.outputs[index].path.read_bytes()))


def run(
    operation: str,
    folder: Path,
    data: bytes | None,
    name: str = "file",
    *,
    media_type: str | None = None,
    limits: Limits | None = None,
    attempt: int = 1,
    **params: Any,
) -> Ran:
    """Run an operation as a worker would: parameters by way of JSON, one input or none."""
    entry = find(operation, debug=True)
    inputs = []
    if data is not None:
        path = folder / "in"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        inputs = [Input(path, name, len(data), digest, media_type or detect_file(path, name))]
    work = Work(inputs, folder, limits or Limits(), attempt=attempt)
    ran = Ran(work)
    work.report = lambda *report: ran.reports.append(report)
    entry.run(work, entry.params.model_validate(entry.parse(params)))
    return ran


# --- pictures --------------------------------------------------------------------------------


def card(width: int = 320, height: int = 240, mode: str = "RGB") -> Image.Image:
    """A test card: each corner has its colour, the middle a gradient and a circle."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (across, down, ImageChops.invert(across)))
    draw = ImageDraw.Draw(image)
    side = max(1, min(width, height) // 4)
    for colour, (right, low) in CORNERS.items():
        x, y = right * (width - side), low * (height - side)
        draw.rectangle((x, y, x + side - 1, y + side - 1), fill=colour)
    middle = (
        width / 2 - side / 2,
        height / 2 - side / 2,
        width / 2 + side / 2,
        height / 2 + side / 2,
    )
    draw.ellipse(middle, fill="white", outline="black")
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(width: int = 320, height: int = 240, *, orientation: int = 1, **options: Any) -> bytes:
    """A JPEG that shows the upright card; with another orientation it is stored turned."""
    image = card(width, height)
    turn = _TO_STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker of cameras"
    exif.get_ifd(0x8825)[1] = "N"  # GPS: a latitude north
    return saved(
        image if turn is None else image.transpose(turn), "JPEG", quality=92, exif=exif, **options
    )


def transparent() -> Image.Image:
    """The card, clear at the top, opaque at the bottom."""
    image = card().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def film(kind: str, frames: int = 5) -> bytes:
    """An animation: the card, turned a little more in each frame."""
    pictures = [card(120, 90).rotate(15 * i) for i in range(frames)]
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=80, loop=0)


def svg(width: int = 320, height: int = 240, inside: str = "") -> bytes:
    """A drawing: a red left half, a blue right half, clear below; `inside` comes on top."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><svg xmlns="http://www.w3.org/2000/svg"'
        f' xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" height="{height}">'
        f'<rect width="{width / 2}" height="{height / 2}" fill="#f00"/>'
        f'<rect x="{width / 2}" width="{width / 2}" height="{height / 2}" fill="#00f"/>'
        f"{inside}</svg>"
    ).encode()


def heic() -> bytes:
    """64 x 48 pixels in HEVC: red, lime, blue and yellow quarters, as the card's corners are."""
    return base64.b64decode(_HEIC)


def png_that_claims(width: int, height: int) -> bytes:
    """A small PNG whose header names any size; the data would do for it, or for some of it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = min(height, 20_000)
    data = zlib.compress(b"\0" * ((width // 8 + 1) * rows), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data[:2000])
        + chunk(b"IEND", b"")
    )  # fmt: skip


def distance(one: Image.Image, other: Image.Image) -> float:
    """How unlike two pictures look: 0 is the same, 1 black against white. Sizes do not matter."""
    small = [image.convert("RGB").resize((24, 24), Image.Resampling.BOX) for image in (one, other)]
    apart = ImageStat.Stat(ImageChops.difference(*small)).rms
    return sum(apart) / len(apart) / 255


# Nothing here encodes HEVC; 64 x 48 pixels.
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAWptZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAA"
    "AAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABjgABAAAAAAAAADwAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAAB"
    "AABodmMxAAAAAA5waXRtAAAAAAABAAAA6mlwcnAAAADLaXBjbwAAAHdodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADw"
    "NgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbpKSkubgIaDAgA"
    "AAMAyAAAAwAIQGIAAQAGRAHAcYESAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAA"
    "AAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAABdpcG1hAAAAAAAAAAEAAQSBAgSDAAAARG1kYXQAAAA4KAGs"
    "ZpcK/rOnvLg1uZWDlJ/rCBZie6vufFiDZjDq2PS9piFznARNAw9Xh9BvsLy8Uoy9bhIAQqo="
)


# --- documents -------------------------------------------------------------------------------


def pdf(
    texts: tuple[str, ...] = ("One", "Two", "Three"),
    *,
    size: tuple[float, float] = (200, 100),
    password: str | None = None,
    count: int | None = None,
    extra: str = "",
    form: bool = False,
) -> bytes:
    """A PDF with a page for each text, written by hand; with a password encrypted by RC4.

    `count` is what the page tree says, `extra` goes into each page's dictionary. With `form` the
    first page has a field, drawn as a blue box over x 100 to 190 and y 10 to 30.
    """
    lock = _Lock(password) if password else None
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(texts)))
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {count or len(texts)} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    }
    for i, text in enumerate(texts):
        page, content = 4 + 2 * i, 5 + 2 * i
        objects[page] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] {extra}"
            f" /Resources << /Font << /F1 3 0 R >> >> /Contents {content} 0 R >>"
        ).encode()
        drawing = f"1 0 0 rg 0 0 40 40 re f 0 g BT /F1 24 Tf 60 40 Td ({text}) Tj ET".encode()
        if lock:
            drawing = lock.encrypt(drawing, content)
        objects[content] = b"<< /Length %d >>\nstream\n" % len(drawing) + drawing + b"\nendstream"
    if form:
        _add_field(objects)
    return _assembled(objects, lock.dictionary if lock else b"")


def _add_field(objects: dict[int, bytes]) -> None:
    field, look = len(objects) + 1, len(objects) + 2
    objects[field] = (
        f"<< /Type /Annot /Subtype /Widget /FT /Tx /T (f) /F 4 /P 4 0 R /Rect [100 10 190 30]"
        f" /V (x) /DA (/F1 12 Tf 0 g) /AP << /N {look} 0 R >> >>"
    ).encode()
    drawing = b"0 0 1 rg 0 0 90 20 re f"
    objects[look] = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 90 20] /Length %d >>\nstream\n%s\nendstream"
        % (len(drawing), drawing)
    )
    objects[4] = objects[4].replace(b"/Type /Page ", b"/Type /Page /Annots [%d 0 R] " % field)
    objects[1] = objects[1].replace(b"/Type", b"/AcroForm << /Fields [%d 0 R] >> /Type" % field)


def _assembled(objects: dict[int, bytes], trailer: bytes) -> bytes:
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for number in objects:
        out += b"%010d 00000 n \n" % offsets[number]
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (len(objects) + 1, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


class _Lock:
    """The standard security handler, revision 2 (PDF 1.7, 7.6.3): RC4 with 40 bits."""

    _PAD = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")

    def __init__(self, password: str) -> None:
        padded = (password.encode() + self._PAD)[:32]
        document_id = b"0123456789abcdef"
        owner = _rc4(hashlib.md5(padded).digest()[:5], padded)
        self._key = hashlib.md5(padded + owner + struct.pack("<i", -4) + document_id).digest()[:5]
        user = _rc4(self._key, self._PAD)
        self.dictionary = (
            b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >> /ID [<%s> <%s>]"
        ) % tuple(part.hex().encode() for part in (owner, user, document_id, document_id))

    def encrypt(self, data: bytes, number: int) -> bytes:
        salted = self._key + number.to_bytes(3, "little") + b"\0\0"
        return _rc4(hashlib.md5(salted).digest()[:10], data)


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


# --- tables ----------------------------------------------------------------------------------

TABLE = (
    'id,name,when,amount\n007,"Müller, ""Anna""",2026-11-22,1.10\n'
    '008,"two\nlines",2026-01-02,12345678901234567890\n'
).encode()
TABLE_ROWS = [
    ["id", "name", "when", "amount"],
    ["007", 'Müller, "Anna"', "2026-11-22", "1.10"],
    ["008", "two\nlines", "2026-01-02", "12345678901234567890"],
]
JSON_LINES = (
    b'{"id":7,"name":"Anna","tags":["a",1.10]}\n{"id":8,"name":null,"late":12345678901234567890}\n'
)


def parquet(query: str = "SELECT 7 AS id, 'Anna' AS name UNION ALL SELECT 8, NULL") -> bytes:
    """A Parquet file with what a query of DuckDB gives."""
    import tempfile

    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "made.parquet")
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"COPY ({query}) TO $1 (FORMAT parquet)", [str(path)])
        return path.read_bytes()


def rows_of_parquet(path: Path) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Types by name, and the rows."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        scan = "FROM read_parquet($1)"
        columns = connection.execute(f"DESCRIBE {scan}", [str(path)]).fetchall()
        return {c[0]: c[1] for c in columns}, connection.execute(scan, [str(path)]).fetchall()


def xlsx(
    table: Iterable[Iterable[Any]] = (("id", "name"), (7, "Anna"), (8, None)), **options: Any
) -> bytes:
    """A workbook with this table in its first sheet, `Data`, and another sheet behind it."""
    import xlsxwriter

    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True, **options}) as book:
        sheet = book.add_worksheet("Data")
        dated = book.add_format({"num_format": "yyyy-mm-dd"})
        for number, row in enumerate(table):
            for column, value in enumerate(row):
                if isinstance(value, dt.date):
                    sheet.write_datetime(number, column, value, dated)
                elif isinstance(value, str):
                    sheet.write_string(number, column, value)
                elif value is not None:
                    sheet.write(number, column, value)
        book.add_worksheet("Other").write_string(0, 0, "other")
    return buffer.getvalue()


# --- other kinds -----------------------------------------------------------------------------


def wav(seconds: float = 1.5) -> bytes:
    data = bytes(int(8000 * seconds))
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp4(seconds: float = 2.5) -> bytes:
    def box(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body) + 8, name) + body

    mvhd = struct.pack(">BxxxIIII", 0, 0, 0, 1000, int(seconds * 1000)) + bytes(80)
    return box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", box(b"mvhd", mvhd))


def flac(seconds: int = 3) -> bytes:
    rate, samples = 44_100, 44_100 * seconds
    packed = (rate << 44 | 1 << 41 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\x80\0\0\x22" + bytes(10) + packed + bytes(16)


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"x" * 100)
    return buffer.getvalue()


def tarred(pack: Callable[[bytes], bytes] = bytes) -> bytes:
    """A tar of two files, packed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("a.txt", "b/c.txt"):
            info = tarfile.TarInfo(name)
            info.size = 100
            file.addfile(info, io.BytesIO(b"x" * 100))
    return pack(buffer.getvalue())


# One good file of every type that an operation of ours takes.
BY_TYPE: dict[str, Callable[[], tuple[bytes, str]]] = {
    "image/jpeg": lambda: (jpeg(), "photo.jpg"),
    "image/png": lambda: (saved(transparent(), "PNG"), "card.png"),
    "image/webp": lambda: (film("WEBP"), "film.webp"),
    "image/avif": lambda: (saved(card(160, 120), "AVIF"), "card.avif"),
    "image/gif": lambda: (film("GIF"), "film.gif"),
    "image/tiff": lambda: (saved(card(), "TIFF", compression="tiff_lzw"), "scan.tif"),
    "image/svg+xml": lambda: (svg(), "drawing.svg"),
    "image/bmp": lambda: (saved(card(), "BMP"), "card.bmp"),
    "image/heic": lambda: (heic(), "photo.heic"),
    "application/pdf": lambda: (pdf(), "paper.pdf"),
    "text/csv": lambda: (TABLE, "table.csv"),
    "text/tab-separated-values": lambda: (b"a\tb\n1\tx y\n", "table.tsv"),
    "application/x-ndjson": lambda: (JSON_LINES, "lines.jsonl"),
    "application/vnd.apache.parquet": lambda: (parquet(), "table.parquet"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": lambda: (
        xlsx(),
        "table.xlsx",
    ),
    "application/zip": lambda: (archive("a.txt", "b/c.txt"), "files.zip"),
    "application/x-tar": lambda: (tarred(), "files.tar"),
    "application/gzip": lambda: (tarred(gzip.compress), "files.tar.gz"),
    "application/x-bzip2": lambda: (tarred(bz2.compress), "files.tar.bz2"),
    "application/x-xz": lambda: (tarred(lzma.compress), "files.tar.xz"),
    "application/zstd": lambda: (tarred(zstd().compress), "files.tar.zst"),
    "audio/wav": lambda: (wav(), "beep.wav"),
    "video/mp4": lambda: (film_file(second_s=0.2), "film.mp4"),
    "text/plain": lambda: (b"a note\n", "note.txt"),
}
