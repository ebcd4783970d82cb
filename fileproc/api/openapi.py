"""The OpenAPI 3.1 document, from the table of routes and the models that validate.

Each operation has its own path for PUT (`/v1/jobs/image.resize`), with its parameters as the
query, and its own variant of the body of `POST /v1/jobs`: a generated client is typed throughout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fileproc import __version__
from fileproc.api import examples, problems
from fileproc.api.endpoints import Body, Endpoint, RequestHeader, Tag
from fileproc.api.idempotency import REQUEST_HEADER
from fileproc.api.models import (
    FILE_ID,
    LINK_CODE,
    TEMPLATE_NAME,
    UPLOAD_ID,
    FormJobRequest,
    FormPipelineRequest,
    FormTemplateJobRequest,
    JobRequest,
    PipelineRequest,
    ProblemView,
    PutQuery,
    TemplateJobRequest,
)
from fileproc.api.webhook_models import DELIVERY_ID, WEBHOOK_ID
from fileproc.errors import (
    BadRequestError,
    FileprocError,
    ForbiddenError,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    IdentityUnavailableError,
    InvalidRequestError,
    RateLimitError,
    StoreUnavailableError,
    UnauthorizedError,
)
from fileproc.jobs import LANES
from fileproc.operations import Operation
from fileproc.store.owners import OWNER_NAME
from fileproc.webhooks import JOBS

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_TAGS: Final = {
    Tag.SUBMIT: "Hand over a file and name an operation. The answer comes in milliseconds.",
    Tag.FILES: "Files that are stored for themselves, and can be used by many jobs.",
    Tag.TUS: "tus 1.0.0: uploads that go on after a broken connection; any tus client will do.",
    Tag.JOBS: "Follow jobs, fetch their results, cancel, repeat or delete them.",
    Tag.BATCHES: "Many jobs in one request, counted and canceled together.",
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
_REPLAYED: Final = {
    "Idempotency-Replayed": "`true` if this is the answer to an earlier request with the same key."
}
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
            "schemas": _schemas(shown, operations),
        },
    }


def _path_of(endpoint: Endpoint) -> str:
    """Jobs are `{id}` to readers; one name for all of a level is what the router wants."""
    if endpoint.path.startswith("/v1/jobs/"):
        return endpoint.path.replace("{name}", "{id}")
    return endpoint.path


# --- schemas -----------------------------------------------------------------------------------


def _schemas(endpoints: Iterable[Endpoint], operations: Mapping[str, Operation]) -> Json:
    answers = {
        answer.model
        for endpoint in endpoints
        for answer in endpoint.answers.values()
        if answer.model is not None
    }
    wanted: Any = [(model, "serialization") for model in sorted(answers, key=lambda m: m.__name__)]
    wanted += [(ProblemView, "serialization")]
    requests = (
        *(JobRequest, PipelineRequest, TemplateJobRequest),
        *(FormJobRequest, FormPipelineRequest, FormTemplateJobRequest),
        *(endpoint.payload for endpoint in endpoints if endpoint.payload is not None),
    )
    wanted += [(model, "validation") for model in requests]
    _, document = models_json_schema(wanted, ref_template=_REF)
    schemas: Json = document["$defs"]
    # The bodies stand once for each operation; the bare models only lend their fields.
    bodies = {name: schemas.pop(name) for name in ("JobRequest", "FormJobRequest")}
    schemas["StepAsked"] = _any_step(schemas["StepAsked"], operations)
    for operation in operations.values():
        stem = _pascal(operation.name)
        schemas[f"{stem}Params"] = _params_schema(operation)
        for name, body in bodies.items():
            schemas[stem + name.removesuffix("Request")] = _body_schema(body, operation, stem)
    for name in bodies:
        alone = name.replace("Job", "Operation")
        schemas[alone] = _any_operation(alone, name, operations)
        models = (alone, name.replace("Job", "Pipeline"), name.replace("Job", "TemplateJob"))
        several = [{"$ref": _REF.format(model=model)} for model in models]
        schemas[name] = {"title": name, "oneOf": several}
    jobs = schemas["BatchRequest"]["properties"]["jobs"]["anyOf"][0]
    jobs["items"] = {"$ref": _REF.format(model="JobRequest")}
    for name in ("PipelineRequest", "FormPipelineRequest", "TemplateRequest"):
        properties = schemas[name]["properties"]
        properties["steps"] = _named(properties["steps"])
    return schemas


def _named(members: Json) -> Json:
    """Members of any name that fits one pattern, as generators of clients know them."""
    ((pattern, member),) = members.pop("patternProperties").items()
    return {**members, "propertyNames": {"pattern": pattern}, "additionalProperties": member}


def _any_step(step: Json, operations: Mapping[str, Operation]) -> Json:
    """The names there are; their parameters stand with each operation."""
    named = {**step["properties"]["operation"], "enum": list(operations)}
    return {**step, "properties": {**step["properties"], "operation": named}}


def _params_schema(operation: Operation) -> Json:
    schema = operation.params.model_json_schema(ref_template=_REF)
    return _inlined(schema)


def _inlined(schema: Json) -> Json:
    """The schema without `$defs`: parameters are small, and their names must not clash."""
    definitions = schema.pop("$defs", {})

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                target = definitions[value["$ref"].rpartition("/")[2]]
                rest = {name: item for name, item in value.items() if name != "$ref"}
                return resolve({**target, **rest})
            return {name: resolve(item) for name, item in value.items()}
        return [resolve(item) for item in value] if isinstance(value, list) else value

    resolved: Json = resolve(schema)
    return resolved


def _body_schema(body: Json, operation: Operation, stem: str) -> Json:
    properties = dict(body["properties"])
    properties["operation"] = {"type": "string", "const": operation.name}
    properties["params"] = {"$ref": _REF.format(model=f"{stem}Params")}
    least, most = operation.min_inputs, operation.max_inputs
    properties["inputs"] = _bounded(properties["inputs"], least, most)
    required = {"operation"}
    if operation.params.model_json_schema().get("required"):
        required.add("params")
    if least and "anyOf" not in properties["inputs"]:
        required.add("inputs")
    return {
        **body,
        "title": operation.name,
        "description": operation.summary,
        "properties": properties,
        "required": sorted(required),
    }


def _bounded(inputs: Json, least: int, most: int) -> Json:
    bounds = {"minItems": least, "maxItems": most}
    if "anyOf" not in inputs:
        plain = {name: value for name, value in inputs.items() if name != "default"}
        return {**plain, **bounds}
    return {
        **inputs,
        "anyOf": [
            {**kind, **bounds} if kind.get("type") == "array" else kind for kind in inputs["anyOf"]
        ],
    }


def _any_operation(title: str, body: str, operations: Mapping[str, Operation]) -> Json:
    suffix = body.removesuffix("Request")
    refs = {operation: _REF.format(model=_pascal(operation) + suffix) for operation in operations}
    return {
        "title": title,
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "operation", "mapping": refs},
    }


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"[._-]", name))


# --- operations --------------------------------------------------------------------------------


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
        "responses": _responses(endpoint),
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
        schema = {"$ref": _REF.format(model=endpoint.payload.__name__)}
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
    described["operationId"] = f"put{_pascal(operation.name)}"
    described["summary"] = operation.summary
    described["description"] = operation.description
    params = _params_schema(operation)
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
    job = {"$ref": _REF.format(model="FormJobRequest")}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": _REF.format(model="JobRequest")}},
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
    return _from_properties(_inlined(model.model_json_schema())) if model is not None else []


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


# --- answers -----------------------------------------------------------------------------------


def _responses(endpoint: Endpoint) -> Json:
    responses: Json = {}
    for status, answer in endpoint.answers.items():
        entry: Json = {"description": answer.says}
        if answer.model is not None:
            content: Json = {"schema": {"$ref": _REF.format(model=answer.model.__name__)}}
            if answer.example is not None:
                content["example"] = answer.example
            entry["content"] = {answer.media_type: content}
        elif answer.media_type != "application/json":
            shown = {"example": answer.example} if answer.example is not None else {}
            entry["content"] = {answer.media_type: shown}
        told = {**answer.headers, **(_REPLAYED if endpoint.keeps_answer else {})}
        if told:
            entry["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in told.items()
            }
        responses[str(status)] = entry
    responses.update(_problem_responses(all_errors(endpoint)))
    return dict(sorted(responses.items()))


def all_errors(endpoint: Endpoint) -> list[type[FileprocError]]:
    """What an endpoint may answer beside its successes."""
    common: list[type[FileprocError]] = []
    if not endpoint.public:
        common = [
            *(BadRequestError, UnauthorizedError, ForbiddenError),
            *(InvalidRequestError, StoreUnavailableError, IdentityUnavailableError),
        ]
    if endpoint.keeps_answer:
        common += [IdempotencyInFlightError, IdempotencyMismatchError]
    if endpoint.rate_class is not None:
        common.append(RateLimitError)
    return list(dict.fromkeys([*common, *endpoint.errors, FileprocError]))


def _problem_responses(errors: Iterable[type[FileprocError]]) -> Json:
    by_status: dict[int, list[type[FileprocError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {str(status): _problem_response(status, many) for status, many in by_status.items()}


def _phrase(status: int) -> str:
    """What HTTP calls it; 460 is tus' own."""
    known = {int(one): one.phrase for one in HTTPStatus}
    return known.get(status, "Checksum Mismatch")


def _problem_response(status: int, errors: Sequence[type[FileprocError]]) -> Json:
    examples = {
        error.code: {
            "summary": error.title,
            "value": problems.document(error(f"{error.title}."), "5e0c7a91d3b24f68"),
        }
        for error in errors
    }
    return {
        "description": _phrase(status) + ": " + ", ".join(f"`{error.code}`" for error in errors),
        "content": {
            problems.MEDIA_TYPE: {
                "schema": {"$ref": _REF.format(model="ProblemView")},
                "examples": examples,
            }
        },
    }
