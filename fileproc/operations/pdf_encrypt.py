"""`pdf.encrypt`: a PDF that needs a password, or forbids some uses."""

from __future__ import annotations

import secrets
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fileproc.operations import structures
from fileproc.operations.registry import Params, operation
from fileproc.operations.structures import PDF
from fileproc.operations.work import Work

_MAX_BYTES = 127  # of a password, in UTF-8; readers cut off what follows (ISO 32000-2, 7.6.4.3.3)


class Encrypt(Params):
    """At least one of `user_password` and `owner_password`."""

    user_password: str | None = structures.password_field(
        "Needed to open the document. Without one it opens for everybody, restricted as below."
    )
    owner_password: str | None = structures.password_field(
        "Lifts the restrictions. Without one, nobody can: a random one is set and thrown away."
    )
    print: Literal["all", "low_resolution", "none"] = Field(
        "all", description="How the document may be printed."
    )
    copy_text: bool = Field(True, description="Whether text and pictures may be copied out of it.")
    modify: bool = Field(True, description="Whether its contents may be changed.")
    assemble: bool = Field(
        True, description="Whether its pages may be inserted, deleted, rotated and reordered."
    )
    annotate: bool = Field(True, description="Whether annotations may be added and changed.")
    fill_forms: bool = Field(True, description="Whether its form fields may be filled in.")
    password: str | None = structures.password_field(
        "Opens the document that is given, if it is encrypted already."
    )

    @model_validator(mode="after")
    def _has_passwords(self) -> Self:
        given = [text for text in (self.user_password, self.owner_password) if text is not None]
        if not given:
            raise ValueError("give user_password, owner_password or both")
        if any(len(text.encode("utf-8", "surrogatepass")) > _MAX_BYTES for text in given):
            raise ValueError(f"a password has at most {_MAX_BYTES} bytes in UTF-8")
        if len(given) == 2 and given[0] == given[1]:  # noqa: PLR2004 - both are given
            raise ValueError("the two passwords must differ, or every reader is the owner")
        return self


@operation(
    "pdf.encrypt",
    summary="Encrypt a PDF with AES-256, and restrict what readers may do",
    params=Encrypt,
    accepts=(PDF,),
    produces=(PDF,),
    example={"user_password": "correct horse battery", "print": "none"},
    engines=("pikepdf",),
)
def encrypt(work: Work, params: Encrypt) -> None:
    """Encrypt a document with AES, 256 bits (PDF 2.0, revision 6), its metadata included.

    Passwords protect; restrictions do not: programs are asked to keep to them. Copying for
    readers with a disability is always allowed. A document that is encrypted already gets the new
    passwords instead of the old; all else in it stays as it is, scripts included. A signature no
    longer holds.

    Raises:
        BadInput: `corrupt_input`, `document_too_complex`, `password_required`, `type_mismatch`,
            `unsupported_variant`, `wrong_password`.
        OutOfResources: `scratch_full`.
    """
    work.engine = structures.engine()
    structures.check_is_pdf(work.input)
    with structures.opened(work.input.path, params.password) as pdf:
        path = work.output(work.input.stem + ".pdf", PDF)
        structures.save(pdf, work, path, encryption=_encryption(params))


def _encryption(params: Encrypt) -> Any:
    import pikepdf

    allowed = pikepdf.Permissions(
        accessibility=True,
        extract=params.copy_text,
        modify_annotation=params.annotate,
        modify_assembly=params.assemble,
        modify_form=params.fill_forms,
        modify_other=params.modify,
        print_lowres=params.print != "none",
        print_highres=params.print == "all",
    )
    return pikepdf.Encryption(
        user=params.user_password or "",
        owner=params.owner_password or secrets.token_urlsafe(32),
        R=6,
        aes=True,
        metadata=True,
        allow=allowed,
    )
