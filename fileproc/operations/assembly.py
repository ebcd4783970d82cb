"""A new PDF, put together from pages of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fileproc.operations import drawing_cost, outlines
from fileproc.operations.outlines import Bookmark
from fileproc.operations.structures import array, dictionary, is_stream

_OF_LAYERS: Final = ("/OFF", "/Order", "/RBGroups", "/Locked", "/AS")


class Assembly:
    """The new document; those that its pages come from must stay open until it is saved.

    With the pages come their form fields, the places that their links lead to and the layers;
    what belongs to the whole document (attachments, scripts, tags, page labels) does not.

    Attributes:
        pdf: the `pikepdf.Pdf`.
        bookmarks: its outline; written by `finish`.
    """

    def __init__(self) -> None:
        import pikepdf

        self.pdf = pikepdf.Pdf.new()
        self.bookmarks: list[Bookmark] = []

    def add(self, source: Any, indices: list[int], *, prune: bool) -> dict[int, int]:
        """Append pages; returns where each came to stand, by its index in the source.

        With `prune`, resources that a page lists and does not use are left out. Scanners like to
        list every picture on every page.
        """
        start = len(self.pdf.pages)
        self.pdf.add_pages_from(source, indices)
        if prune:
            for page in self.pdf.pages[start:]:
                if drawing_cost.is_quickly_read(page.obj):
                    page.remove_unreferenced_resources()
        self._add_layers(source)
        return {index: start + place for place, index in enumerate(indices)}

    def describe_as(self, source: Any) -> None:
        """Take over title, author and the like, and the language."""
        metadata = source.Root.get("/Metadata")
        if is_stream(metadata):
            self.pdf.Root["/Metadata"] = self.pdf.copy_foreign(metadata)
        if (information := dictionary(source.trailer.get("/Info"))) is not None:
            held = source.make_indirect(information)
            self.pdf.trailer["/Info"] = self.pdf.copy_foreign(held)
        language = source.Root.get("/Lang")
        if language is not None and not language.is_indirect:
            self.pdf.Root["/Lang"] = language

    def finish(self) -> Any:
        """The document, ready to be saved."""
        outlines.write(self.pdf, self.bookmarks)
        return self.pdf

    def _add_layers(self, source: Any) -> None:
        """Layers (optional content): what is hidden in a source stays hidden."""
        properties = dictionary(source.Root.get("/OCProperties"))
        if properties is None or not len(self._layers_of(properties)):
            return
        copied = self.pdf.copy_foreign(source.make_indirect(properties))
        if (own := self.pdf.Root.get("/OCProperties")) is None:
            self.pdf.Root["/OCProperties"] = own = self._no_layers()
        known = {layer.objgen for layer in own["/OCGs"]}
        if all(layer.objgen in known for layer in self._layers_of(copied)):
            return
        own["/OCGs"].extend(self._layers_of(copied))
        config = dictionary(copied.get("/D"))
        for name in _OF_LAYERS:
            own["/D"][name].extend(self._configured(copied, config, name))

    def _no_layers(self) -> Any:
        import pikepdf

        lists = {name: pikepdf.Array() for name in _OF_LAYERS}
        return pikepdf.Dictionary({"/OCGs": pikepdf.Array(), "/D": pikepdf.Dictionary(lists)})

    @staticmethod
    def _layers_of(properties: Any) -> list[Any]:
        return [layer for layer in array(properties.get("/OCGs")) if dictionary(layer) is not None]

    def _configured(self, properties: Any, config: Any, name: str) -> Iterable[Any]:
        """A list of the default configuration, as it would be in one whose layers are all on."""
        said = [] if config is None else list(array(config.get(name)))
        if name == "/Order" and not said:
            return self._layers_of(properties)
        if name == "/OFF" and config is not None and config.get("/BaseState") == "/OFF":
            return self._not_on(properties, config)
        return said

    def _not_on(self, properties: Any, config: Any) -> Iterator[Any]:
        shown = {
            layer.objgen for layer in array(config.get("/ON")) if dictionary(layer) is not None
        }
        return (layer for layer in self._layers_of(properties) if layer.objgen not in shown)
