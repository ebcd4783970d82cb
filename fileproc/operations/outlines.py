"""Bookmarks of PDF documents: counted, read, and written into another document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from fileproc.operations.structures import dictionary, plain_text, too_complex

MAX_BOOKMARKS: Final = 50_000  # of one document
_MAX_DEPTH = 30


@dataclass(slots=True)
class Bookmark:
    """An entry of the outline; `page` (from 0) is None where it leads to no page of the document.

    `view` is what of the page is shown, as in an explicit destination (ISO 32000-2, 12.3.2.2).
    """

    title: str
    page: int | None = None
    view: list[Any] = field(default_factory=list)
    children: list[Bookmark] = field(default_factory=list)


def count(pdf: Any) -> int:
    """How many bookmarks there are, at most `MAX_BOOKMARKS`; open and closed ones alike."""
    return sum(1 for _ in _Reader(pdf, {}).entries())


def read(pdf: Any) -> list[Bookmark]:
    """The outline as a tree; rings in it are cut.

    Raises:
        BadInput: `document_too_complex`.
    """
    if dictionary(pdf.Root.get("/Outlines")) is None:
        return []
    places = {page.obj.objgen: index for index, page in enumerate(pdf.pages)}
    return _Reader(pdf, places).tree()


def relocated(bookmarks: list[Bookmark], positions: Mapping[int, int]) -> list[Bookmark]:
    """Those that lead to a page in `positions` (old index to new), and what they stand under."""
    kept = []
    for old in bookmarks:
        children = relocated(old.children, positions)
        page = None if old.page is None else positions.get(old.page)
        if page is not None or children:
            kept.append(Bookmark(old.title, page, old.view if page is not None else [], children))
    return kept


def write(pdf: Any, bookmarks: list[Bookmark]) -> None:
    """Make these the outline of a document that has none."""
    if not bookmarks:
        return
    with pdf.open_outline(max_depth=_MAX_DEPTH + 1) as outline:
        outline.root.extend(_item(pdf, bookmark) for bookmark in bookmarks)


def _item(pdf: Any, bookmark: Bookmark) -> Any:
    import pikepdf

    place = None
    if bookmark.page is not None:
        view = bookmark.view or [pikepdf.Name.Fit]
        place = pikepdf.Array([pdf.pages[bookmark.page].obj, *view])
    item = pikepdf.OutlineItem(bookmark.title, place)
    item.children.extend(_item(pdf, child) for child in bookmark.children)
    return item


class _Reader:
    def __init__(self, pdf: Any, places: Mapping[tuple[int, int], int]) -> None:
        self._pdf, self._places = pdf, places
        self._seen: set[tuple[int, int]] = set()

    def entries(self) -> Iterator[Any]:
        """Every entry once, in no stated order."""
        waiting = [dictionary(self._pdf.Root.get("/Outlines"))]
        while waiting:
            node = waiting.pop()
            for entry in self._level(node):
                yield entry
                waiting.append(entry)

    def tree(self) -> list[Bookmark]:
        return self._below(dictionary(self._pdf.Root.get("/Outlines")), 0)

    def _below(self, node: Any, depth: int) -> list[Bookmark]:
        if depth > _MAX_DEPTH:
            return []
        return [
            Bookmark(
                plain_text(entry.get("/Title")), *self._place(entry), self._below(entry, depth + 1)
            )
            for entry in list(self._level(node))
        ]

    def _level(self, node: Any) -> Iterator[Any]:
        entry = None if node is None else dictionary(node.get("/First"))
        while entry is not None and entry.objgen not in self._seen:
            if len(self._seen) >= MAX_BOOKMARKS:
                raise too_complex(f"The PDF has more than {MAX_BOOKMARKS:,} bookmarks.")
            self._seen.add(entry.objgen)
            yield entry
            entry = dictionary(entry.get("/Next"))

    def _place(self, entry: Any) -> tuple[int | None, list[Any]]:
        """The page that an entry leads to, and the view of it."""
        import pikepdf

        target = entry.get("/Dest")
        action = dictionary(entry.get("/A"))
        if target is None and action is not None and action.get("/S") == "/GoTo":
            target = action.get("/D")
        target = self._resolved(target)
        if not isinstance(target, pikepdf.Array) or not len(target):
            return None, []
        page, *view = target
        index = self._places.get(page.objgen) if dictionary(page) is not None else None
        simple = (pikepdf.Name, int, float, Decimal, type(None))
        return index, view if all(isinstance(part, simple) for part in view) else []

    def _resolved(self, target: Any) -> Any:
        """A destination by name becomes what it stands for."""
        import pikepdf

        if isinstance(target, pikepdf.Name):
            named = dictionary(self._pdf.Root.get("/Dests"))
            target = None if named is None else named.get(target)
        elif isinstance(target, pikepdf.String):
            names = dictionary(self._pdf.Root.get("/Names"))
            tree = None if names is None else dictionary(names.get("/Dests"))
            target = None if tree is None else pikepdf.NameTree(tree).get(str(target))
        inner = dictionary(target)
        return target if inner is None else inner.get("/D")
