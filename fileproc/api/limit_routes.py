"""The part of the table of routes that is about limits, and, for operators, owners and lanes."""

from __future__ import annotations

from typing import Final

from fileproc import errors
from fileproc.api import limit_models, limits, queries
from fileproc.api.endpoints import Answer, Body, Endpoint, Errors, Tag
from fileproc.store import Role

_JSON: Errors = (
    errors.UnsupportedMediaTypeError,
    errors.TooLargeError,
    errors.RequestTimeoutError,
)
_OWNER: Errors = (errors.NotFoundError,)
_USAGE = Answer("What was used.", limit_models.UsageView, example=limit_models.USAGE)
_IS = Answer("The owner as it is now.", limit_models.OwnerView, example=limit_models.OWNER)
_LANE = Answer("The lane as it is now.", limit_models.LaneView, example=limit_models.LANE)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        "GET",
        "/v1/limits",
        limits.get_limits,
        operation_id="getLimits",
        tag=Tag.LIMITS,
        summary="See what bounds your requests, files and jobs",
        answers={200: Answer("All of it.", limit_models.LimitsView, example=limit_models.LIMITS)},
        query=queries.NoQuery,
    ),
    Endpoint(
        "GET",
        "/v1/usage",
        limits.get_usage,
        operation_id="getUsage",
        tag=Tag.LIMITS,
        summary="See what you have used, today and before",
        answers={200: _USAGE},
        query=limit_models.UsageQuery,
    ),
    # --- owners --------------------------------------------------------------------------------
    Endpoint(
        "GET",
        "/v1/admin/owners",
        limits.list_owners,
        operation_id="listOwners",
        tag=Tag.ADMIN,
        summary="List the owners that have settings of their own",
        answers={
            200: Answer(
                "All of them, by name.",
                limit_models.OwnerList,
                example={"data": [limit_models.OWNER]},
            )
        },
        query=queries.NoQuery,
        role=Role.ADMIN,
    ),
    Endpoint(
        "GET",
        "/v1/admin/owners/{owner}",
        limits.get_owner,
        operation_id="getOwner",
        tag=Tag.ADMIN,
        summary="Look at what holds for an owner",
        answers={200: _IS},
        query=queries.NoQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
    Endpoint(
        "PUT",
        "/v1/admin/owners/{owner}",
        limits.put_owner,
        operation_id="putOwner",
        tag=Tag.ADMIN,
        summary="Set an owner's share, caps and quotas",
        description=(
            "All of them at once: what is left out is as for everybody. It holds at once, also "
            "for jobs that wait already."
        ),
        answers={200: _IS},
        query=queries.NoQuery,
        body=Body.JSON,
        payload=limit_models.OwnerRequest,
        sample=limit_models.OWNER_SAMPLE,
        errors=(*_OWNER, *_JSON),
        role=Role.ADMIN,
    ),
    Endpoint(
        "DELETE",
        "/v1/admin/owners/{owner}",
        limits.reset_owner,
        operation_id="resetOwner",
        tag=Tag.ADMIN,
        summary="Take an owner's settings back",
        answers={204: Answer("It is as everybody.")},
        query=queries.NoQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
    Endpoint(
        "GET",
        "/v1/admin/owners/{owner}/usage",
        limits.get_owner_usage,
        operation_id="getOwnerUsage",
        tag=Tag.ADMIN,
        summary="See what an owner has used",
        answers={200: _USAGE},
        query=limit_models.UsageQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
    Endpoint(
        "POST",
        "/v1/admin/owners/{owner}/pause",
        limits.pause_owner,
        operation_id="pauseOwner",
        tag=Tag.ADMIN,
        summary="Hold an owner's jobs back",
        description="Nothing more of it is started in any lane; what runs goes on.",
        answers={200: _IS},
        query=queries.NoQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
    Endpoint(
        "POST",
        "/v1/admin/owners/{owner}/resume",
        limits.resume_owner,
        operation_id="resumeOwner",
        tag=Tag.ADMIN,
        summary="Let an owner's jobs go on",
        answers={200: _IS},
        query=queries.NoQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
    # --- lanes ---------------------------------------------------------------------------------
    Endpoint(
        "GET",
        "/v1/admin/lanes",
        limits.list_lanes,
        operation_id="listLanes",
        tag=Tag.ADMIN,
        summary="List the lanes",
        answers={
            200: Answer(
                "All of them.", limit_models.LaneList, example={"data": [limit_models.LANE]}
            )
        },
        query=queries.NoQuery,
        role=Role.ADMIN,
    ),
    Endpoint(
        "POST",
        "/v1/admin/lanes/{lane}/pause",
        limits.pause_lane,
        operation_id="pauseLane",
        tag=Tag.ADMIN,
        summary="Stop taking jobs from a lane",
        description="What runs goes on, and jobs are still accepted.",
        answers={200: _LANE},
        query=queries.NoQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
    Endpoint(
        "POST",
        "/v1/admin/lanes/{lane}/resume",
        limits.resume_lane,
        operation_id="resumeLane",
        tag=Tag.ADMIN,
        summary="Take jobs from a lane again",
        answers={200: _LANE},
        query=queries.NoQuery,
        errors=_OWNER,
        role=Role.ADMIN,
    ),
)
