"""The part of the table of routes that is about share links."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import examples, link_models, links, queries, shared
from fileproc.api.endpoints import Answer, Body, Endpoint, Errors, RateClass, Repeats, Tag

_LOST: Errors = (errors.NotFoundError, errors.GoneError)
_OF_LINK: Errors = (
    *_LOST,
    errors.BadRequestError,
    errors.LinkPasswordError,
    errors.LinkLockedError,
    errors.StoreUnavailableError,
    errors.StorageUnavailableError,
)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "POST",
        "/v1/links",
        links.create_link,
        operation_id="createLink",
        stores=True,
        tag=Tag.LINKS,
        summary="Share an output",
        answers={
            201: Answer(
                "The link is there.",
                link_models.LinkView,
                headers={"Location": "Address of what you see of it; share `path`."},
                example=examples.LINK,
            )
        },
        query=queries.NoQuery,
        body=Body.JSON,
        payload=link_models.LinkRequest,
        sample=examples.LINK_SAMPLE,
        errors=(
            *_LOST,
            errors.NotFinishedError,
            errors.NoResultError,
            errors.ChooseOutputError,
            errors.CodeTakenError,
            errors.QuotaError,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
        ),
    ),
    Endpoint(
        "GET",
        "/v1/links",
        links.list_links,
        operation_id="listLinks",
        tag=Tag.LINKS,
        summary="List your links, newest first",
        description="Those that have ended are listed for a week.",
        answers={200: Answer.page(link_models.LinkList, examples.LINK)},
        query=queries.LinkListQuery,
    ),
    Endpoint(
        "GET",
        "/v1/links/{code}",
        links.get_link,
        operation_id="getLink",
        tag=Tag.LINKS,
        summary="Look at a link",
        answers={200: Answer("The link.", link_models.LinkView, example=examples.LINK)},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "DELETE",
        "/v1/links/{code}",
        links.revoke_link,
        operation_id="revokeLink",
        tag=Tag.LINKS,
        summary="Revoke a link",
        description="It leads nowhere from now on; a download under way goes on.",
        answers={204: Answer("It is revoked.")},
        query=queries.NoQuery,
        errors=(errors.NotFoundError,),
    ),
    Endpoint(
        "GET",
        "/d/{code}",
        shared.follow_link,
        operation_id="followLink",
        tag=Tag.LINKS,
        summary="Download what a link leads to",
        description=(
            "Needs no key. A redirect to the storage; where the link has a maximum of downloads, "
            "or leads to all outputs, the file itself. A password goes as that of Basic "
            "authentication, with any name: `curl -L -u :PASSWORD`. A browser (`text/html`) "
            "gets a page with a button where there is a password or a maximum, so that what only "
            "looks does not count."
        ),
        answers={
            200: Answer("The file, or the page.", media_type="application/octet-stream"),
            302: Answer("The file is there.", headers={"Location": "A URL good for minutes."}),
        },
        errors=_OF_LINK,
        public=True,
        rate=RateClass.PUBLIC,
    ),
    Endpoint(
        "POST",
        "/d/{code}",
        shared.press_link,
        operation_id="pressLink",
        tag=Tag.LINKS,
        summary="What the button of the page does",
        description="The password, if there is one, is the field `password` of a form.",
        answers={
            200: Answer("The file.", media_type="application/octet-stream"),
            303: Answer("The file is there.", headers={"Location": "A URL good for minutes."}),
        },
        body=Body.FORM,
        repeats=Repeats.NONE,  # a second press is a second download
        errors=(
            *_OF_LINK,
            errors.UnsupportedMediaTypeError,
            errors.TooLargeError,
            errors.RequestTimeoutError,
        ),
        public=True,
        rate=RateClass.PUBLIC,
    ),
)
