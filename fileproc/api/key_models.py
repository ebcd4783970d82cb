"""What requests and answers about keys look like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from fileproc.api.fields import MAX_PAGE, Query, Request
from fileproc.scopes import MOST_SCOPES, PATTERN
from fileproc.store import Role
from fileproc.store.owners import OWNER_NAME

DAY_S = 86_400
MOST_LIFE_S = 3650 * DAY_S
MOST_OVERLAP_S = 30 * DAY_S

OwnerName = Annotated[str, StringConstraints(pattern=f"^{OWNER_NAME}$")]
ScopeName = Annotated[str, StringConstraints(pattern=f"^{PATTERN}$", max_length=200)]
Life = Annotated[int, Field(ge=60, le=MOST_LIFE_S)]


class KeyRequest(Request):
    """A key to be made."""

    owner: OwnerName = Field(description="Whose jobs and files it opens.")
    role: Literal["admin", "user", "viewer"] = Field(
        "user", description="`viewer` may look, `user` do everything of its owner, `admin` all."
    )
    label: str = Field("", max_length=200, description="What it is for.")
    scopes: list[ScopeName] = Field(
        default_factory=list,
        max_length=MOST_SCOPES,
        description="What it may start jobs of: `operation:image.resize`, `operation:image.*`, "
        "`template:thumbs`. None: everything. A key with scopes changes nothing but jobs.",
    )
    expires_in_s: Life | None = Field(None, description="Seconds; omitted: it does not expire.")
    reuse: bool = Field(
        False, description="What its requests mean that do not say `reuse` themselves."
    )


class RotateRequest(Request):
    """How a key gets a new secret."""

    overlap_s: Annotated[int, Field(ge=0, le=MOST_OVERLAP_S)] = Field(
        DAY_S, description="The secret before lives on for so many seconds; 0 ends every old one."
    )
    expires_in_s: Life | None = Field(
        None, description="A new end of the key, seconds from now; omitted: as it was."
    )


class KeyListQuery(Query):
    """Which keys."""

    owner: str | None = Field(None, max_length=64, description="Only keys of this owner.")
    cursor: str | None = Field(
        None, max_length=200, description="`next_cursor` of the page before this one."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(50, description="Keys on a page.")


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str
    object: Literal["key"]
    owner: str
    role: Role
    label: str
    scopes: list[str]
    reuse: bool
    state: Literal["live", "expired", "revoked"]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None
    rotated_at: AwareDatetime | None = Field(description="When it got its present secret.")
    old_secrets_until: AwareDatetime | None = Field(
        description="Until then a secret from before a rotation is valid as well."
    )


class NewKeyView(KeyView):
    """A key that has just got a secret."""

    token: str = Field(description="What requests are made with; never shown again.")


class KeyList(BaseModel):
    """A page of keys, oldest first."""

    data: list[KeyView]
    next_cursor: str | None = Field(description="For the next page; null on the last.")
