"""Settings of what is kept, and of the journal."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from fileproc.settings.fields import Positive, PositiveSeconds


class Keeping(BaseModel):
    """How long things are kept, and the journal."""

    retention_s: Positive = Field(86_400, description="Job and files go so long after its end.")
    file_retention_s: Positive = Field(
        86_400,
        description="A file that was uploaded on its own goes so long after that, at most.",
    )
    journal_keep_s: Positive = Field(
        30 * 86_400, description="The journal forgets a job so long after its end."
    )
    rebuild_empty: bool = Field(
        False, description="A worker that finds Redis empty builds it again from the journal."
    )
    journal_compact_s: PositiveSeconds = Field(
        600, description="Old batches of the journal are folded into one object so often."
    )
    journal_compact_objects: Annotated[int, Field(ge=2)] = Field(
        200, description="With fewer old batches than this, nothing is folded."
    )
    sweep_s: PositiveSeconds = Field(
        600, description="The bucket is searched so often for objects that nothing points to."
    )
    orphan_s: Annotated[float, Field(ge=0)] = Field(
        3600, description="Such an output is deleted when it is so old."
    )
    stale_upload_s: Annotated[float, Field(ge=0)] = Field(
        86_400,
        description="A file without a job, or an unfinished upload, is deleted when it is so old."
        " Must exceed the time that the longest request takes.",
    )
