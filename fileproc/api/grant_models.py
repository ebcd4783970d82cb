"""What requests and answers about upload tokens look like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from fileproc.api.fields import Query, Wait
from fileproc.api.job_models import TemplateAsked

MOST_LIFE_S = 3600


class Grant(TemplateAsked):
    """What the holder of an upload token may do, once: this job, of a file no larger than this."""

    max_bytes: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Largest file; omitted: as large as the server takes."
    )


class UploadTokenRequest(Grant):
    """An upload token to be made: the job that its file becomes, and for how long it is good."""

    life_s: Annotated[int, Field(ge=60, le=MOST_LIFE_S)] = Field(
        600, description="Seconds for which the token is good, also to follow its job."
    )


class UploadQuery(Query):
    """What may be said of a file that comes with an upload token."""

    filename: str | None = Field(
        None, description="Display name of the file; outputs are named after it."
    )
    wait: Wait | None = None


class UploadTokenView(BaseModel):
    """An upload token, for a browser or an app of somebody who has no key."""

    object: Literal["upload_token"]
    token: str = Field(description="For one `PUT /v1/jobs`, and to follow its job. Shown once.")
    template: str = Field(description="With the version that was the newest: `thumbs@3`.")
    max_bytes: int
    expires_at: AwareDatetime
