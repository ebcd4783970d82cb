"""`pdf.info`: what a PDF is made of, in one JSON document."""

from __future__ import annotations

import json

from fileproc.operations import outlines, pdf_facts, structures, texts
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.work import Work


class Info(Params):
    password: str | None = structures.password_field()


@operation(
    "pdf.info",
    summary="Describe a PDF: pages, fonts, metadata, encryption, forms, signatures",
    params=Info,
    accepts=(PDF,),
    produces=(texts.JSON,),
    example={},
    engines=("pikepdf",),
)
def info(work: Work, params: Info) -> None:
    """Tell what stands in the structure of a document; nothing is drawn.

    The result has `page_count`, `page_sizes` (in points, as pages are looked at, the most
    frequent first), `version`, `linearized`, `tagged`, `pdf_a` (what it claims, such as 2B),
    `encryption`, `metadata`, `fonts`, `attachments`, `form`, `signatures` (listed, not verified),
    `bookmarks` (how many) and `scripts` (whether it runs something when opened). Lists end after
    1,000 entries.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`, `type_mismatch`,
            `unsupported_variant`, `wrong_password`.
    """
    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    with structures.opened(work.input.path, params.password) as pdf:
        marked = structures.dictionary(pdf.Root.get("/MarkInfo"))
        report = {
            "page_count": len(pdf.pages),
            "page_sizes": pdf_facts.page_sizes(pdf),
            "version": pdf.pdf_version,
            "linearized": pdf.is_linearized,
            "tagged": marked is not None and marked.get("/Marked") is True,
            "pdf_a": pdf_facts.pdf_a(pdf),
            "encryption": pdf_facts.encryption(pdf),
            "metadata": pdf_facts.metadata(pdf),
            "fonts": pdf_facts.fonts(pdf),
            "attachments": pdf_facts.attachments(pdf),
            "form": pdf_facts.form(pdf),
            "signatures": pdf_facts.signatures(pdf),
            "bookmarks": outlines.count(pdf),
            "scripts": pdf_facts.has_scripts(pdf),
        }
    work.progress(1, 1, unit="documents", phase="read")
    path = work.output(work.input.stem + ".json", texts.JSON)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
