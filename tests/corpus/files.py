"""The files of a run: those found in folders, a sample of them, and mutations of them."""

from __future__ import annotations

import hashlib
import random
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fileproc.operations.types import HEAD_BYTES, detect

# What counts, sizes and offsets are afraid of.
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_MOST_FLIPS = 24
_LONGEST_SLICE = 4096


@dataclass(frozen=True, slots=True)
class Specimen:
    """One file of the run.

    Attributes:
        shown: how findings call it.
        origin: the folder it was found in, as it was given.
        type: by our own sniff, from what the api sees of an upload.
    """

    path: Path
    shown: str
    origin: str
    size: int
    sha256: str
    type: str


def found_in(folders: Iterable[Path], largest_bytes: int) -> list[Specimen]:
    """Every regular file in and below the folders, in order; each content once, none empty."""
    seen: set[str] = set()
    specimens = []
    for folder in folders:
        for path in _walked(folder):
            if not 0 < path.stat().st_size <= largest_bytes:
                continue
            specimen = _specimen(path, str(path), str(folder))
            if specimen.sha256 not in seen:
                seen.add(specimen.sha256)
                specimens.append(specimen)
    return specimens


def _walked(folder: Path) -> Iterator[Path]:
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    return (path for path in paths if path.is_file() and not path.is_symlink())


def _specimen(path: Path, shown: str, origin: str) -> Specimen:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        whole = not file.read(1)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = detect(head, name=Path(shown).name, declared=None, whole=whole)
    return Specimen(path, shown, origin, path.stat().st_size, digest, found)


def sampled(specimens: Iterable[Specimen], count: int, choice: random.Random) -> list[Specimen]:
    """At most so many of each type from each folder, in the order they had."""
    groups: defaultdict[tuple[str, str], list[Specimen]] = defaultdict(list)
    for specimen in specimens:
        groups[specimen.origin, specimen.type].append(specimen)
    return [
        group[index]
        for group in groups.values()
        for index in sorted(choice.sample(range(len(group)), min(count, len(group))))
    ]


# --- mutations -------------------------------------------------------------------------------


def mutated(
    specimens: list[Specimen], count: int, choice: random.Random, folder: Path
) -> list[Specimen]:
    """So many damaged copies, written to `folder`; the same for the same specimens and seed."""
    made = []
    for number in range(count):
        specimen, other = choice.choice(specimens), choice.choice(specimens)
        data = _damaged(specimen.path.read_bytes(), other.path.read_bytes(), choice)
        path = folder / f"{number}-{Path(specimen.shown).name[-100:]}"
        path.write_bytes(data or b"\0")
        shown = f"mutation {number} of {specimen.shown}"
        made.append(_specimen(path, shown, specimen.origin))
    return made


def _damaged(data: bytes, other: bytes, choice: random.Random) -> bytes:
    """Damaged in one to three ways."""
    for damage in choice.choices(_DAMAGES, k=choice.randint(1, 3)):
        if data:
            data = damage(data, other, choice)
    return data


def _flipped(data: bytes, other: bytes, choice: random.Random) -> bytes:
    del other
    changed = bytearray(data)
    for _ in range(choice.randint(1, _MOST_FLIPS)):
        changed[_place(data, choice)] ^= 1 << choice.randrange(8)
    return bytes(changed)


def _extreme(data: bytes, other: bytes, choice: random.Random) -> bytes:
    """A number of the file's becomes one that is hard to bear, in either order of bytes."""
    del other
    order, form, bits = choice.choice("<>"), *choice.choice((("H", 16), ("I", 32), ("Q", 64)))
    packed = struct.pack(order + form, choice.choice(_EXTREMES) % 2**bits)
    at = _place(data, choice)
    return data[:at] + packed + data[at + len(packed) :]


def _cut_short(data: bytes, other: bytes, choice: random.Random) -> bytes:
    del other
    return data[: choice.randrange(1, len(data) + 1)]


def _cut_out(data: bytes, other: bytes, choice: random.Random) -> bytes:
    del other
    start, end = _slice(data, choice)
    return data[:start] + data[end:]


def _repeated(data: bytes, other: bytes, choice: random.Random) -> bytes:
    del other
    start, end = _slice(data, choice)
    return data[:end] + data[start:end] * choice.randint(1, 50) + data[end:]


def _spliced(data: bytes, other: bytes, choice: random.Random) -> bytes:
    """The beginning of one file, the end of another."""
    return data[: _place(data, choice)] + other[_place(other, choice) :]


def _place(data: bytes, choice: random.Random) -> int:
    """Near the beginning or the end more often than not: there the headers and lists are."""
    near = int(len(data) * choice.random() ** 3)
    return len(data) - 1 - near if choice.random() < 0.25 else near


def _slice(data: bytes, choice: random.Random) -> tuple[int, int]:
    start = _place(data, choice)
    return start, min(len(data), start + choice.randint(1, _LONGEST_SLICE))


_DAMAGES: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _flipped,
    _flipped,
    _extreme,
    _extreme,
    _cut_short,
    _cut_out,
    _repeated,
    _spliced,
)
