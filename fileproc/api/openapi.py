"""The OpenAPI 3.1 document, from the table of routes and the models that validate.

Each operation has its own path for PUT (`/v1/jobs/image.resize`), with its parameters as the
query, and its own variant of the body of `POST /v1/jobs`: a generated client is typed throughout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from pydantic import BaseModel

from fileproc import __version__
from fileproc.api import examples
from fileproc.api.endpoints import Body, Endpoint, RequestHeader, Tag
from fileproc.api.fields import FILE_ID, LINK_CODE, TEMPLATE_NAME, UPLOAD_ID
from fileproc.api.idempotency import REQUEST_HEADER
from fileproc.api.openapi_answers import responses_of
from fileproc.api.openapi_schemas import REF, Json, inlined, params_schema, pascal, schemas_of
from fileproc.api.queries import PutQuery
from fileproc.api.schedule_models import PATTERN as SCHEDULE_PATTERN
from fileproc.api.schedule_models import SCHEDULE_ID
from fileproc.api.webhook_models import DELIVERY_ID, WEBHOOK_ID
from fileproc.jobs import LANES
from fileproc.operations import Operation
from fileproc.store.owners import OWNER_NAME
from fileproc.webhooks import JOBS

_PARAMETER = re.compile(r"\{(\w+)\}")
_TAGS: Final = {
    Tag.SUBMIT: "Hand over a file and name an operation. The answer comes in milliseconds.",
    Tag.FILES: "Files that are stored for themselves, and can be used by many jobs.",
    Tag.TUS: "tus 1.0.0: uploads that go on after a broken connection; any tus client will do.",
    Tag.JOBS: "Follow jobs, fetch their results, cancel, repeat or delete them.",
    Tag.BATCHES: "Many jobs in one request, counted and canceled together.",
    Tag.SCHEDULES: "Jobs that recur: by a cron expression, over a URL or what is new in a bucket.",
    Tag.TEMPLATES: "Pipelines that are kept by name, in versions, and filled in by jobs.",
    Tag.LIMITS: "What bounds you, and how much of it is used.",
    Tag.ADMIN: "What each owner is granted, and holding jobs back. For keys of the role admin.",
    Tag.WEBHOOKS: "Where your events are sent, signed by Standard Webhooks 1.0.",
    Tag.LINKS: "Hand an output to somebody who has no key: counted, bounded, revocable.",
    Tag.OPERATIONS: "What can be done with a file.",
    Tag.KEYS: "Who may use this server, and for what. For keys of the role admin.",
    Tag.SERVICE: "For operators and monitoring.",
}

_INTRODUCTION: Final = (
    "Asynchronous file processing: hand over a file and name an operation; you have a job id "
    "within milliseconds. Poll the job, or let the request wait (`Prefer: wait=30`), and download "
    "the result. A job that was answered with 202 is safe.\n\n"
    "Times are RFC 3339 in UTC, sizes are bytes, names are snake_case, and unknown fields are "
    "refused. Every error is a problem document (RFC 9457) with a stable `code`. A job that "
    "failed is no HTTP error: it is a job whose `state` is `failed`, with the problem inside."
)

_PATH_PARAMETERS: Final[dict[str, Json]] = {
    "name": {"description": "Name of the operation.", "schema": {"type": "string"}},
    "file": {
        "description": "Id of the file.",
        "schema": {
            "type": "string",
            "pattern": "^file_[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "examples": [FILE_ID],
        },
    },
    "upload": {
        "description": "Id of the upload.",
        "schema": {
            "type": "string",
            "pattern": "^upload_[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "examples": [UPLOAD_ID],
        },
    },
    "template": {
        "description": "Name of the template.",
        "schema": {"type": "string", "pattern": f"^{TEMPLATE_NAME}$", "examples": ["thumbs"]},
    },
    "key": {
        "description": "Id of the key.",
        "schema": {"type": "string", "pattern": "^[0-9a-z]{12}$", "examples": ["7k2m9q4x0c1v"]},
    },
    "batch": {
        "description": "Id of the batch.",
        "schema": {
            "type": "string",
            "pattern": "^batch_[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "examples": ["batch_01kqb4h0nme8atrb9rgb0yvm3m"],
        },
    },
    "schedule": {
        "description": "Id of the schedule.",
        "schema": {"type": "string", "pattern": SCHEDULE_PATTERN, "examples": [SCHEDULE_ID]},
    },
    "owner": {
        "description": "Name of the owner.",
        "schema": {"type": "string", "pattern": f"^{OWNER_NAME}$", "examples": ["acme"]},
    },
    "lane": {
        "description": "Name of the lane.",
        "schema": {"type": "string", "enum": list(LANES)},
    },
    "webhook": {
        "description": "Id of the webhook; `jobs` is the one that sends what single jobs ask for.",
        "schema": {
            "type": "string",
            "pattern": f"^({JOBS}|wh_[0-7][0-9a-hjkmnp-tv-z]{{25}})$",
            "examples": [WEBHOOK_ID],
        },
    },
    "delivery": {
        "description": "Id of the delivery: the `webhook-id` of its message.",
        "schema": {
            "type": "string",
            "pattern": "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "examples": [DELIVERY_ID],
        },
    },
    "code": {
        "description": "Code of the link.",
        "schema": {"type": "string", "pattern": LINK_CODE, "examples": [examples.LINK["code"]]},
    },
    "id": {
        "description": "Id of the job.",
        "schema": {
            "type": "string",
            "pattern": "^job_[0-7][0-9a-hjkmnp-tv-z]{25}$",
            "examples": ["job_01kqb4h0nme8atrb9rgb0yvm3j"],
        },
    },
}


def build(
    endpoints: Sequence[Endpoint], operations: Mapping[str, Operation], *, keys: bool = True
) -> Json:
    """The whole document; `keys` False where authentication is off."""
    shown = [endpoint for endpoint in endpoints if endpoint.shown]
    paths: dict[str, Json] = {}
    for endpoint in shown:
        if endpoint.body is Body.FILE:
            for operation in operations.values():
                path = endpoint.path.replace("{name}", operation.name)
                paths.setdefault(path, {})["put"] = _put_operation(endpoint, operation)
        else:
            path = _path_of(endpoint)
            paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fileproc",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": tag, "description": text} for tag, text in _TAGS.items()],
        "security": [{"key": []}] if keys else [],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `fp_...`, or where configured a token (JWT).",
                }
            },
            "schemas": schemas_of(shown, operations),
        },
    }


def _path_of(endpoint: Endpoint) -> str:
    """Jobs are `{id}` to readers; one name for all of a level is what the router wants."""
    if endpoint.path.startswith("/v1/jobs/"):
        return endpoint.path.replace("{name}", "{id}")
    return endpoint.path


def _operation(endpoint: Endpoint) -> Json:
    described: Json = {
        "operationId": endpoint.operation_id,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": [
            *_path_parameters(_path_of(endpoint)),
            *_query_parameters(endpoint.query),
            *_header_parameters(endpoint),
        ],
        "responses": responses_of(endpoint),
    }
    if endpoint.public:
        described["security"] = []
    if endpoint.body is Body.JOB:
        described["requestBody"] = _job_body()
        described["x-codeSamples"] = [
            {"lang": "curl", "source": source} for source in examples.POST_SAMPLES
        ]
    if endpoint.body is Body.BYTES:
        described["requestBody"] = _bytes_body()
    if endpoint.body is Body.OFFSET_BYTES:
        raw = {"type": "string", "format": "binary"}
        described["requestBody"] = {
            "required": endpoint.method == "PATCH",
            "content": {"application/offset+octet-stream": {"schema": raw}},
        }
    if endpoint.payload is not None:
        schema = {"$ref": REF.format(model=endpoint.payload.__name__)}
        described["requestBody"] = {
            "required": any(
                field.is_required() for field in endpoint.payload.model_fields.values()
            ),
            "content": {"application/json": {"schema": schema}},
        }
    if endpoint.body is Body.UPLOAD:
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/octet-stream": {
                    "schema": {"type": "string", "format": "binary", "minLength": 1}
                }
            },
        }
    if endpoint.body is Body.BATCH:
        lines = {"type": "string", "description": "A `JobRequest` on each line."}
        described["requestBody"]["content"]["application/x-ndjson"] = {"schema": lines}
    if endpoint.body is Body.FORM:
        described["requestBody"] = _FORM_BODY
    if endpoint.sample:
        described["x-codeSamples"] = [{"lang": "curl", "source": endpoint.sample}]
    return {name: value for name, value in described.items() if value != ""}


_FORM_BODY: Final[Json] = {
    "required": False,
    "content": {
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "properties": {"password": {"type": "string", "maxLength": 200}},
            }
        }
    },
}


def _put_operation(endpoint: Endpoint, operation: Operation) -> Json:
    described = _operation(endpoint)
    described["operationId"] = f"put{pascal(operation.name)}"
    described["summary"] = operation.summary
    described["description"] = operation.description
    params = params_schema(operation)
    described["parameters"] = [
        *_from_properties(params),
        *_query_parameters(PutQuery),
        *_header_parameters(endpoint),
    ]
    described["x-codeSamples"] = [{"lang": "curl", "source": _put_sample(operation)}]
    taken = ", ".join(f"`{kind}`" for kind in operation.accepts)
    described["requestBody"] = {
        "description": "Any file." if "*/*" in operation.accepts else f"The file: {taken}.",
        "required": operation.min_inputs > 0,
        "content": {"application/octet-stream": {"schema": _file_schema(operation)}},
    }
    return described


def _put_sample(operation: Operation) -> str:
    query = urlencode(operation.example, doseq=True)
    address = f"$FILEPROC_URL/v1/jobs/{operation.name}" + (f"?{query}" if query else "")
    return f'curl -T FILE "{address}"'


def _file_schema(operation: Operation) -> Json:
    if operation.max_inputs == 0:
        return {"type": "string", "format": "binary", "maxLength": 0}
    return {"type": "string", "format": "binary", "minLength": min(1, operation.min_inputs)}


def _job_body() -> Json:
    job = {"$ref": REF.format(model="FormJobRequest")}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": REF.format(model="JobRequest")}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["job"],
                    "properties": {
                        "job": job,
                        "file": {
                            "type": "array",
                            "description": "The files, in the order of the inputs.",
                            "items": {"type": "string", "format": "binary"},
                        },
                    },
                },
                "encoding": {"job": {"contentType": "application/json"}},
            },
        },
    }


def _bytes_body() -> Json:
    raw: Json = {"type": "string", "format": "binary", "minLength": 1}
    form = {"type": "object", "required": ["file"], "properties": {"file": raw}}
    return {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": raw},
            "multipart/form-data": {"schema": form},
        },
    }


def _path_parameters(path: str) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, **_PATH_PARAMETERS[name]}
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[Json]:
    return _from_properties(inlined(model.model_json_schema())) if model is not None else []


def _from_properties(schema: Json) -> list[Json]:
    required = schema.get("required", [])
    return [
        _query_parameter(name, field, required=name in required)
        for name, field in schema.get("properties", {}).items()
    ]


def _query_parameter(name: str, field: Json, *, required: bool) -> Json:
    schema = _without_null(field)
    description = schema.pop("description", None)
    schema.pop("title", None)
    parameter: Json = {"name": name, "in": "query", "required": required, "schema": schema}
    if description:
        parameter["description"] = description
    return parameter


def _without_null(field: Json) -> Json:
    """In a query there is no null: a name is there or is not."""
    schema = {name: value for name, value in field.items() if (name, value) != ("default", None)}
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1:
        del schema["anyOf"]
        return {**kinds[0], **schema}
    if kinds:
        schema["anyOf"] = kinds
    return schema


def _header_parameters(endpoint: Endpoint) -> list[Json]:
    return [
        {
            "name": header.name,
            "in": "header",
            "required": header.required,
            "description": header.says,
            "schema": {
                "type": "string",
                **({"pattern": f"^{header.pattern}$"} if header.pattern else {}),
            },
        }
        for header in _headers(endpoint)
    ]


def _headers(endpoint: Endpoint) -> tuple[RequestHeader, ...]:
    return (*endpoint.headers, REQUEST_HEADER) if endpoint.keeps_answer else endpoint.headers
