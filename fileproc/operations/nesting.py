"""How deep the elements of XML, and the groups and tables of RTF, lie within each other.

LibreOffice takes a call of a function for each level: thousands of them are more than its stack
holds, and what it needs to lay out tables in tables doubles with every few levels. Documents that
people write stay below fifty.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Final
from xml.parsers import expat

from fileproc.operations.work import BadInput

MAX_ELEMENTS: Final = 200
MAX_GROUPS: Final = 500
MAX_TABLES: Final = 60  # each takes three elements of a DOCX

# A symbol or a word; behind \binN come N bytes that mean nothing here.
_RTF = re.compile(rb"([{}])|\\(?:bin([0-9]{1,10}) ?|itap([0-9]{1,10})|[^\r\n])")


class Elements:
    """Counts the levels of one XML document, piece by piece; it has no document type.

    Where it is not well-formed, counting ends: LibreOffice's parser goes no further either.
    """

    def __init__(self, shown: str, encoding: str | None) -> None:
        """Begin.

        Args:
            shown: the name of the part, for a sentence.
            encoding: None: told from the first bytes, as the standard says.
        """
        self._shown, self._depth = shown, 0
        self._parser: expat.XMLParserType | None = expat.ParserCreate(encoding)
        self._parser.ordered_attributes = True  # a list is cheaper than a dictionary
        self._parser.StartElementHandler = self._enter
        self._parser.EndElementHandler = self._leave

    def see(self, piece: bytes) -> None:
        """Take more of it.

        Raises:
            BadInput: `document_too_complex`.
        """
        if self._parser is None:
            return
        try:
            self._parser.Parse(piece)
        except (expat.ExpatError, LookupError, ValueError):  # also encodings that nobody knows
            self._parser = None

    def _enter(self, name: str, attributes: object) -> None:
        del name, attributes
        self._depth += 1
        if self._depth > MAX_ELEMENTS:
            raise _too_deep(f"Elements of the part {self._shown}", MAX_ELEMENTS)

    def _leave(self, name: str) -> None:
        del name
        self._depth -= 1


def check_rtf(path: Path) -> None:
    """Refuse an RTF file with groups in groups, or tables in tables, that go too deep.

    Raises:
        BadInput: `document_too_complex`.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        depth = at = 0
        while found := _RTF.search(data, at):
            bracket, binary, tables = found.groups()
            at = found.end() + int(binary or 0)
            depth += {b"{": 1, b"}": -1}.get(bracket, 0)
            if depth > MAX_GROUPS:
                raise _too_deep("Groups of the document", MAX_GROUPS)
            if int(tables or 0) > MAX_TABLES:
                raise _too_deep("Tables of the document", MAX_TABLES)


def _too_deep(what: str, most: int) -> BadInput:
    return BadInput(
        f"{what} lie within each other more than {most} levels deep, which is the most that is"
        " laid out; flatten the document.",
        code="document_too_complex",
    )
