"""Share links: how they are asked for and shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from fileproc.api.fields import LINK_CODE, JobId, Request


class LinkRequest(Request):
    """What a share link leads to, and for whom."""

    job_id: JobId
    output: str | None = Field(
        None, max_length=200, description="Name of the output; needed where there are several."
    )
    index: Annotated[int, Field(ge=0, lt=10**6)] | None = Field(
        None, description="Its place in `outputs` instead, from 0."
    )
    archive: bool = Field(False, description="Lead to all outputs, as a ZIP.")
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="What the download is called; by default as the output is."
    )
    code: Annotated[str, StringConstraints(pattern=LINK_CODE)] | None = Field(
        None,
        description="A code of your choice, which others may guess. Omitted: a random one, which "
        "nobody can.",
    )
    expires_in_s: Annotated[int, Field(ge=1, le=366 * 86_400)] | None = Field(
        None, description="It ends so long from now; at the latest, and by default, with the job."
    )
    password: Annotated[str, StringConstraints(min_length=8, max_length=200)] | None = Field(
        None, description="Asked for before the download. Only a hash of it is kept."
    )
    max_downloads: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        None, description="It ends with this download. The file then comes through the server."
    )


class LinkView(BaseModel):
    """A share link."""

    code: str
    object: Literal["link"]
    state: Literal["live", "expired", "used_up", "revoked"]
    path: str = Field(description="Where it leads from, on this server: `/d/<code>`.")
    job_id: JobId
    index: int | None = Field(description="Which output; null: all, as a ZIP.")
    name: str = Field(description="What the download is called.")
    has_password: bool
    max_downloads: int | None
    downloads: int = Field(description="How often it was followed.")
    created_at: AwareDatetime
    expires_at: AwareDatetime
    last_download_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class LinkList(BaseModel):
    """A page of links, newest first."""

    data: list[LinkView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")
