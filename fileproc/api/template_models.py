"""Templates: how they are asked for and shown."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from fileproc.api.fields import MAX_VARIABLES, Request, Scalar, VariableName
from fileproc.api.job_models import StepAsked, Steps


class Variable(Request):
    """A value that a job gives to a template."""

    type: Literal["string", "integer", "number", "boolean"]
    default: Scalar | None = Field(None, description="Without it every job has to give a value.")
    description: str = Field("", max_length=500)


class TemplateRequest(Request):
    """A pipeline to be kept. `{"$var": "width"}` in the parameters stands for a variable."""

    description: str = Field("", max_length=500)
    variables: dict[VariableName, Variable] = Field(
        default_factory=dict, max_length=MAX_VARIABLES, description="By their names."
    )
    steps: Steps


class TemplateView(BaseModel):
    """One version of a template."""

    name: str
    object: Literal["template"]
    version: int
    created_at: AwareDatetime
    description: str
    variables: dict[str, Variable]
    steps: dict[str, StepAsked]


class TemplateList(BaseModel):
    """The newest version of each, by name."""

    data: list[TemplateView]
