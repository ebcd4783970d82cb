"""Compressed streams (gzip, zstd, Brotli, bzip2, xz), in and out, a piece at a time.

What comes out is counted by a `Meter`, so a bomb ends after some megabytes of it, not when the
disk is full; and a decoder gives at most a piece at a time, whatever the file would like.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from fileproc.operations.work import MIB, BadInput, Work

if TYPE_CHECKING:
    from types import ModuleType

GZIP: Final = "application/gzip"
ZSTD: Final = "application/zstd"
BROTLI: Final = "application/x-brotli"
BZIP2: Final = "application/x-bzip2"
XZ: Final = "application/x-xz"
DEFLATE: Final = "deflate"  # bare, as in ZIP files; no type of a file

RATIO: Final = 100  # honest files stay far below; deflate's own bound is 1,032
FREE_BYTES: Final = 100_000  # up to here no ratio is judged
AHEAD_BYTES: Final = 32 * MIB  # by so much a stretch of zeros may run ahead of the ratio

READ_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = MIB
_DECODER_BYTES = 128 * MIB  # dictionaries and windows; `xz -9` needs 65 MiB, `zstd -19` 8 MiB


@dataclass(slots=True)
class Meter:
    """Judges what comes out of a compressed file against what went in.

    Attributes:
        size: of the compressed file, in bytes.
        most: bytes that may come out of it in all.
        consumed: bytes of the file that were read so far; whoever reads counts them.
        produced: bytes that came out so far.
    """

    size: int
    most: int
    consumed: int = 0
    produced: int = 0

    @classmethod
    def of(cls, work: Work) -> Meter:
        """For the first input; what comes out must find room beside the inputs."""
        taken = sum(item.path.stat().st_size for item in work.inputs)
        most = max(0, work.limits.scratch_bytes - taken)
        return cls(work.input.path.stat().st_size, most)

    def count(self, produced: int) -> None:
        """Bytes that have come out.

        Raises:
            BadInput: `archive_bomb`.
        """
        self.produced += produced
        self.expect(self.produced)
        if self.produced > max(FREE_BYTES, RATIO * self.consumed + AHEAD_BYTES):
            raise self._out_of_proportion()

    def expect(self, total: int) -> None:
        """Bytes that will have come out in all, by what the file says, before they do.

        Raises:
            BadInput: `archive_bomb`.
        """
        if total > max(FREE_BYTES, RATIO * self.size):
            raise self._out_of_proportion()
        if total > self.most:
            raise BadInput(
                f"The file unpacks to more than the {self.most:,} bytes that there is room for.",
                code="archive_bomb",
            )

    def _out_of_proportion(self) -> BadInput:
        return BadInput(
            f"The file of {self.size:,} bytes unpacks to more than {RATIO} times its size.",
            code="archive_bomb",
        )


# --- out -------------------------------------------------------------------------------------


class Source(Protocol):
    """What is read: a file, or a part of one."""

    def read(self, size: int, /) -> bytes: ...


class _Decoder(Protocol):
    """What the decoders of bz2, lzma, zstd and isal have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Brotli:
    """Brotli's decoder, spoken to as the others are."""

    unused_data = b""

    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # it has none

        self._inner = brotli.Decompressor()
        self._full = False  # of the last piece: more may follow, although all input is taken

    @property
    def eof(self) -> bool:
        return bool(self._inner.is_finished())

    @property
    def needs_input(self) -> bool:
        return not self._full and bool(self._inner.can_accept_more_data())

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = bytes(self._inner.process(data, output_buffer_limit=max_length))
        self._full = len(piece) >= max_length
        return piece


def zstd() -> ModuleType:
    """Python's own module, or its backport."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module


def _decoder(kind: str) -> _Decoder:
    if kind == BROTLI:
        return _Brotli()
    found: Any
    if kind == BZIP2:
        from bz2 import BZ2Decompressor

        found = BZ2Decompressor()
    elif kind == XZ:
        import lzma

        found = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DECODER_BYTES)
    elif kind == ZSTD:
        module = zstd()
        window = _DECODER_BYTES.bit_length() - 1
        parameter = module.DecompressionParameter.window_log_max
        found = module.ZstdDecompressor(options={parameter: window})
    else:
        from isal import igzip_lib

        flag = igzip_lib.DECOMP_GZIP if kind == GZIP else igzip_lib.DECOMP_DEFLATE
        found = igzip_lib.IgzipDecompressor(flag)
    decoder: _Decoder = found
    return decoder


def decompressed(source: Source, kind: str, meter: Meter) -> Iterator[bytes]:
    """What a compressed file holds, in pieces; files that were joined come out joined.

    Raises:
        BadInput: `archive_bomb`, `corrupt_input` or `unsupported_variant`.
    """
    with _judged():
        data = _read(source, meter)
        if not data:
            raise _cut_off()
        while data:
            decoder = _decoder(kind)
            for piece in _member(decoder, data, source, meter):
                meter.count(len(piece))
                yield piece
            if kind == DEFLATE:
                return
            data = _next_member(decoder.unused_data, source, meter)


def _member(decoder: _Decoder, data: bytes, source: Source, meter: Meter) -> Iterator[bytes]:
    while True:
        yield decoder.decompress(data, PIECE_BYTES)
        if decoder.eof:
            return
        data = b""
        if decoder.needs_input:
            data = _read(source, meter)
            if not data:
                raise _cut_off()


def _read(source: Source, meter: Meter) -> bytes:
    data = source.read(READ_BYTES)
    meter.consumed += len(data)
    return data


def _next_member(unused: bytes, source: Source, meter: Meter) -> bytes:
    """The beginning of the next file of those that were joined; zeros between them are padding."""
    while True:
        if data := unused.lstrip(b"\0"):
            return data
        unused = _read(source, meter)
        if not unused:
            return b""


def _cut_off() -> BadInput:
    return BadInput(
        "The compressed data is cut off: the file ends too early.", code="corrupt_input"
    )


@contextmanager
def _judged() -> Iterator[None]:
    """Around everything that decodes: what the decoders say becomes a clear error."""
    try:
        yield
    except (BadInput, MemoryError, GeneratorExit):
        raise
    except Exception as exc:
        if isinstance(exc, OSError) and exc.errno is not None:  # bz2 has none: its data is bad
            raise
        if "memory" in str(exc).lower():
            raise BadInput(
                f"The compressed data needs more than {_DECODER_BYTES // MIB} MiB of memory to be"
                " unpacked.",
                code="unsupported_variant",
            ) from exc
        raise BadInput("The compressed data is damaged.", code="corrupt_input") from exc


# --- in --------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Takes data, gives what is ready; `flush` gives the rest and ends the stream."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Brotlied:
    def __init__(self, level: int) -> None:
        import brotli

        self._inner = brotli.Compressor(quality=level)

    def compress(self, data: bytes, /) -> bytes:
        return bytes(self._inner.process(data))

    def flush(self) -> bytes:
        return bytes(self._inner.finish())


_WITH_HEADER = 31  # window bits of zlib: 15, and 16 for gzip's header, which has time 0 and no name
_ISAL_MOST = 3


def _gzip(level: int) -> Encoder:
    if level <= _ISAL_MOST:
        from isal import isal_zlib as module
    else:
        import zlib as module  # type: ignore[no-redef]  # the same interface
    encoder: Encoder = module.compressobj(level, module.DEFLATED, _WITH_HEADER)
    return encoder


def _zstd(level: int) -> Encoder:
    module = zstd()
    parameter = module.CompressionParameter
    encoder: Encoder = module.ZstdCompressor(
        options={parameter.compression_level: level, parameter.checksum_flag: 1}
    )
    return encoder


_ENCODERS: Final[dict[str, Callable[[int], Encoder]]] = {
    GZIP: _gzip,
    ZSTD: _zstd,
    BROTLI: _Brotlied,
}
# Least, most and default. Higher levels of zstd and Brotli's last ones ask for much memory or time.
LEVELS: Final[dict[str, tuple[int, int, int]]] = {
    GZIP: (1, 9, 2),
    ZSTD: (1, 19, 3),
    BROTLI: (0, 11, 5),
}


class Compressing:
    """A file-like that compresses what is written to it into another file."""

    def __init__(self, target: IO[bytes], kind: str, level: int | None = None) -> None:
        self._target = target
        self._encoder = _ENCODERS[kind](LEVELS[kind][2] if level is None else level)

    def write(self, data: bytes) -> int:
        self._target.write(self._encoder.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write what is still held back; nothing may follow."""
        self._target.write(self._encoder.flush())


def engine(kind: str) -> str:
    """Name and version of the library, for `Work.engine`."""
    if kind == ZSTD:
        return f"zstd {zstd().zstd_version}"
    if kind == BROTLI:
        import brotli

        return f"brotli {brotli.version}"
    if kind in {GZIP, DEFLATE}:
        import zlib

        import isal

        return f"isal {isal.__version__}, zlib {zlib.ZLIB_RUNTIME_VERSION}"
    return f"Python {sys.version.split()[0]}"
