"""`pdf.decrypt`: a PDF without its encryption."""

from __future__ import annotations

from fileproc.operations import structures
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.work import Work


class Decrypt(Params):
    password: str | None = structures.password_field(
        "Opens the document: that of its users or that of its owner. A document that opens"
        " without one, and is only restricted, needs none."
    )


@operation(
    "pdf.decrypt",
    summary="Remove password and restrictions from a PDF",
    params=Decrypt,
    accepts=(PDF,),
    produces=(PDF,),
    example={"password": "correct horse battery"},
    engines=("pikepdf",),
)
def decrypt(work: Work, params: Decrypt) -> None:
    """Write the document without encryption; all else in it stays as it is, scripts included.

    Any password that opens the document will do: restrictions on printing, copying or changing go
    too, so ask only for documents that you may free. One that is not encrypted is written anew.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`, `type_mismatch`,
            `unsupported_variant`, `wrong_password`.
        OutOfResources: `scratch_full`.
    """
    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    with structures.opened(work.input.path, params.password) as pdf:
        structures.save(pdf, work, work.output(work.input.stem + ".pdf", PDF), encryption=False)
