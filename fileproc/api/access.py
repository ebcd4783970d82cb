"""What a caller may do: by its role, and by the scopes of its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fileproc import scopes
from fileproc.errors import ForbiddenError
from fileproc.pipelines import RepeatedPipeline

if TYPE_CHECKING:
    from fileproc.api.context import Caller
    from fileproc.api.drafts import Draft
    from fileproc.api.endpoints import Endpoint


def check_access(caller: Caller, endpoint: Endpoint) -> None:
    """Before anything of the request is looked at.

    Raises:
        ForbiddenError: it takes another role, a key without scopes, or no upload token.
    """
    if caller.grant and not endpoint.granted:
        raise ForbiddenError(
            "An upload token sends one file, and looks at the job that it becomes; nothing else."
        )
    if not caller.role.includes(endpoint.needs):
        raise ForbiddenError(
            f"This takes a key of the role {endpoint.needs}; yours is of the role {caller.role}.",
            role=str(caller.role),
            needed=str(endpoint.needs),
        )
    if caller.scopes and not (endpoint.scoped or endpoint.submits or endpoint.method == "GET"):
        raise ForbiddenError(
            "Your key is bound to operations or templates: it may start and follow jobs, and "
            "change nothing else.",
            scopes=list(caller.scopes),
        )


def check_scopes(caller: Caller, draft: Draft) -> None:
    """Before a job is made, however it was asked for.

    Raises:
        ForbiddenError: the caller's key is bound to other operations or templates.
    """
    if not caller.scopes or isinstance(draft.plan, RepeatedPipeline):
        return  # of a repetition no job is made, and what it stands for was judged then
    names = [step.operation for step in draft.steps] or [draft.plan.name]
    template = draft.template.partition("@")[0] if draft.template else None
    if not scopes.allow(caller.scopes, names, template):
        raise ForbiddenError(
            f"Your key may not start a job of {', '.join(dict.fromkeys(names))}; it is bound to "
            f"{', '.join(caller.scopes)}.",
            scopes=list(caller.scopes),
        )
