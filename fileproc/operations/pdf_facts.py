"""What stands in the structure of a PDF: fonts, form fields, signatures, attachments, metadata."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any, Final

from fileproc.operations.structures import (
    array,
    dictionary,
    is_stream,
    plain_text,
    sides,
    too_complex,
)

_MAX_NODES: Final = 100_000  # of anything that is walked through
_MAX_LISTED = 1_000
_MAX_XMP_BYTES = 1024 * 1024
_SUBSET = re.compile(r"[A-Z]{6}\+")
_PDF_A = re.compile(
    rb"pdfaid:part(?:>|\s*=\s*[\"'])\s*(\d).*?(?:pdfaid:conformance(?:>|\s*=\s*[\"'])\s*(\w)|\Z)",
    re.DOTALL,
)
_DATE = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([-+Z])(?:(\d\d)'?(?:(\d\d)'?)?)?)?",
    re.ASCII,
)
_KINDS = {"/Tx": "text", "/Btn": "button", "/Ch": "choice", "/Sig": "signature"}
_INFORMATION = ("Title", "Author", "Subject", "Keywords", "Creator", "Producer")
_METHODS = {"aesv3": "AES-256", "aesv2": "AES-128", "aes": "AES-128", "none": "none"}
_WITH_METHODS = 4  # the version of the encryption that names one for streams; before, all are RC4

Json = dict[str, Any]


def encryption(pdf: Any) -> Json | None:
    """How the document is encrypted, and what its users may do; None if it is not."""
    if not pdf.is_encrypted:
        return None
    found, allowed = pdf.encryption, pdf.allow
    method = str(found.stream_method).rpartition(".")[2] if found.V >= _WITH_METHODS else "rc4"
    return {
        "algorithm": _METHODS.get(method, f"RC4-{found.bits}"),
        "revision": found.R,
        "opened_as": "owner" if pdf.owner_password_matched else "user",
        "allowed": {
            "print": "all"
            if allowed.print_highres
            else ("low_resolution" if allowed.print_lowres else "none"),
            "copy_text": allowed.extract,
            "modify": allowed.modify_other,
            "assemble": allowed.modify_assembly,
            "annotate": allowed.modify_annotation,
            "fill_forms": allowed.modify_form,
        },
    }


def metadata(pdf: Any) -> Json:
    """Title, author and the like, as the information dictionary says; absent ones are null."""
    held = dictionary(pdf.trailer.get("/Info"))
    said = {
        name.lower(): (plain_text(held.get("/" + name)) or None) if held is not None else None
        for name in _INFORMATION
    }
    dates = {"created": "/CreationDate", "modified": "/ModDate"}
    said |= {
        name: _date(held.get(key)) if held is not None else None for name, key in dates.items()
    }
    return {**said, "language": plain_text(pdf.Root.get("/Lang")) or None}


def _date(value: Any) -> str | None:
    """RFC 3339, where the text is a date (ISO 32000-2, 7.9.4); UTC where it names no zone."""
    parts = _DATE.match(plain_text(value))
    if parts is None:
        return None
    month, day, hour, minute, second = (
        int(part or least) for part, least in zip(parts.groups()[1:6], (1, 1, 0, 0, 0), strict=True)
    )
    apart = timedelta(hours=int(parts[8] or 0), minutes=int(parts[9] or 0))
    try:
        zone = timezone(-apart if parts[7] == "-" else apart)
        return datetime(int(parts[1]), month, day, hour, minute, second, tzinfo=zone).isoformat()
    except ValueError:
        return None


def pdf_a(pdf: Any) -> str | None:
    """What the document claims to conform to, such as 2B; nobody has checked it."""
    held = pdf.Root.get("/Metadata")
    if not is_stream(held) or len(held.read_raw_bytes()) > _MAX_XMP_BYTES:
        return None
    found = _PDF_A.search(held.read_bytes()[:_MAX_XMP_BYTES])
    return found and (found[1] + (found[2] or b"").upper()).decode("ascii", "replace")


def page_sizes(pdf: Any) -> list[Json]:
    """Each size as it is looked at (cropped, turned), with the number of pages that have it."""
    sizes = Counter(_size(page) for page in pdf.pages)
    return [
        {"width_pt": width, "height_pt": height, "rotation": rotation, "pages": count}
        for (width, height, rotation), count in sizes.most_common(_MAX_LISTED)
    ]


def _size(page: Any) -> tuple[float, float, int]:
    left, bottom, right, top = sides(page.cropbox)
    width, height = round(abs(right - left), 2), round(abs(top - bottom), 2)
    rotation = int(page.rotation) % 360
    return (height, width, rotation) if rotation in {90, 270} else (width, height, rotation)


# --- fonts -----------------------------------------------------------------------------------


def fonts(pdf: Any) -> list[Json]:
    """Those that pages, and the forms on them, list; each once."""
    found: dict[Any, Json] = {}
    for font in _listed_fonts(pdf):
        entry = _font(font)
        found.setdefault(tuple(entry.values()), entry)
        if len(found) >= _MAX_LISTED:
            break
    return sorted(found.values(), key=lambda entry: (entry["name"] or "", entry["type"]))


def _listed_fonts(pdf: Any) -> Iterator[Any]:
    seen: set[Any] = set()
    for page in pdf.pages:
        waiting = [page.resources]
        while waiting:
            resources = dictionary(waiting.pop())
            if resources is None:
                continue
            yield from _new(resources.get("/Font"), seen)
            for kind in ("/XObject", "/Pattern"):
                parts = (part for part in _new(resources.get(kind), seen) if is_stream(part))
                waiting.extend(part.get("/Resources") for part in parts)


def _new(group: Any, seen: set[Any]) -> list[Any]:
    """The values of a dictionary, without those that were met before."""
    held = dictionary(group)
    if held is None or (held.is_indirect and held.objgen in seen):
        return []
    seen.add(held.objgen)
    values = [held[key] for key in held.keys()]  # noqa: SIM118 - it is no dict
    parts = [value for value in values if is_stream(value) or dictionary(value) is not None]
    fresh = [part for part in parts if not part.is_indirect or part.objgen not in seen]
    seen.update(part.objgen for part in fresh)
    if len(seen) > _MAX_NODES:
        raise too_complex("The PDF has more resources than are looked through.")
    return fresh


def _font(font: Any) -> Json:
    name = str(font.get("/BaseFont", "")).removeprefix("/")
    name = name.encode("utf-8", "replace").decode()
    kind = str(font.get("/Subtype", "")).removeprefix("/")
    inner = next(iter(array(font.get("/DescendantFonts"))), font)
    described = dictionary(inner.get("/FontDescriptor")) if dictionary(inner) else None
    files = ("/FontFile", "/FontFile2", "/FontFile3")
    embedded = described is not None and any(key in described for key in files)
    return {
        "name": _SUBSET.sub("", name, count=1) or None,
        "type": kind,
        "embedded": embedded or kind == "Type3",
        "subset": bool(_SUBSET.match(name)),
    }


# --- forms, signatures, attachments, scripts -------------------------------------------------


def form(pdf: Any) -> Json | None:
    """How many fields of which kind; None where there is no form."""
    held = dictionary(pdf.Root.get("/AcroForm"))
    if held is None:
        return None
    kinds = Counter(_KINDS.get(kind, "other") for _, kind in _fields(held))
    return {
        "fields": sum(kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "xfa": "/XFA" in held,
    }


def signatures(pdf: Any) -> list[Json]:
    """Fields that are signed; whether a signature holds is not checked."""
    held = dictionary(pdf.Root.get("/AcroForm"))
    signed = (
        dictionary(field.get("/V"))
        for field, kind in (() if held is None else _fields(held))
        if kind == "/Sig"
    )
    return [
        {
            "name": plain_text(value.get("/Name")) or None,
            "reason": plain_text(value.get("/Reason")) or None,
            "signed": _date(value.get("/M")),
            "kind": str(value.get("/SubFilter", "")).removeprefix("/") or None,
        }
        for value in islice((value for value in signed if value is not None), _MAX_LISTED)
    ]


def _fields(form_: Any) -> Iterator[tuple[Any, str]]:
    """Fields that hold a value, each with its type (inherited from those above)."""
    waiting = [(field, "") for field in array(form_.get("/Fields"))]
    seen: set[Any] = set()
    while waiting:
        field, above = waiting.pop()
        if dictionary(field) is None or field.objgen in seen:
            continue
        if field.is_indirect:
            seen.add(field.objgen)
        if len(seen) + len(waiting) > _MAX_NODES:
            raise too_complex(f"The PDF has more than {_MAX_NODES:,} form fields.")
        kind = str(field.get("/FT", above))
        below = [kid for kid in array(field.get("/Kids")) if dictionary(kid) and "/T" in kid]
        if below:
            waiting.extend((kid, kind) for kid in below)
        else:
            yield field, kind


def attachments(pdf: Any) -> list[Json]:
    """Embedded files by name, with the size that the document states."""
    import pikepdf

    names = dictionary(pdf.Root.get("/Names"))
    tree = None if names is None else dictionary(names.get("/EmbeddedFiles"))
    if tree is None:
        return []
    listed = islice(pikepdf.NameTree(tree).items(), _MAX_LISTED)
    return [_attachment(str(name), value) for name, value in listed]


def _attachment(key: str, value: Any) -> Json:
    specification = dictionary(value)
    names = [] if specification is None else [specification.get(k) for k in ("/UF", "/F")]
    files = None if specification is None else dictionary(specification.get("/EF"))
    held: Any = None if files is None else files.get("/F", files.get("/UF"))
    stated = dictionary(held.get("/Params")) if is_stream(held) else None
    size = None if stated is None else stated.get("/Size")
    said = next((text for text in map(plain_text, names) if text), key)
    return {
        "name": said.encode("utf-8", "replace").decode(),
        "size": size if isinstance(size, int) else None,
    }


def has_scripts(pdf: Any) -> bool:
    """Whether the document itself runs JavaScript or starts a program when it is opened."""
    names = dictionary(pdf.Root.get("/Names"))
    action = dictionary(pdf.Root.get("/OpenAction"))
    active = action is not None and str(action.get("/S")) in {"/JavaScript", "/Launch"}
    return active or "/AA" in pdf.Root or (names is not None and "/JavaScript" in names)
