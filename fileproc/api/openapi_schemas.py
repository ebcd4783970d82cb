"""The schemas of the OpenAPI document: of the models, and of each operation's bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from fileproc.api.answers import ProblemView
from fileproc.api.endpoints import Endpoint
from fileproc.api.job_models import (
    FormJobRequest,
    FormPipelineRequest,
    FormTemplateJobRequest,
    JobRequest,
    PipelineRequest,
    TemplateJobRequest,
)
from fileproc.operations import Operation

Json = dict[str, Any]
REF = "#/components/schemas/{model}"


def schemas_of(endpoints: Iterable[Endpoint], operations: Mapping[str, Operation]) -> Json:
    """By name: the schemas of all models, and of each operation's parameters and bodies."""
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
    _, document = models_json_schema(wanted, ref_template=REF)
    schemas: Json = document["$defs"]
    # The bodies stand once for each operation; the bare models only lend their fields.
    bodies = {name: schemas.pop(name) for name in ("JobRequest", "FormJobRequest")}
    schemas["StepAsked"] = _any_step(schemas["StepAsked"], operations)
    for operation in operations.values():
        stem = pascal(operation.name)
        schemas[f"{stem}Params"] = params_schema(operation)
        for name, body in bodies.items():
            schemas[stem + name.removesuffix("Request")] = _body_schema(body, operation, stem)
    for name in bodies:
        alone = name.replace("Job", "Operation")
        schemas[alone] = _any_operation(name, operations)
        models = (alone, name.replace("Job", "Pipeline"), name.replace("Job", "TemplateJob"))
        several = [{"$ref": REF.format(model=model)} for model in models]
        schemas[name] = {"oneOf": several}
    jobs = schemas["BatchRequest"]["properties"]["jobs"]["anyOf"][0]
    jobs["items"] = {"$ref": REF.format(model="JobRequest")}
    for name in ("PipelineRequest", "FormPipelineRequest", "TemplateRequest"):
        properties = schemas[name]["properties"]
        properties["steps"] = _named(properties["steps"])
    # Generators of clients name their types by titles: these must be as different as the names.
    return {name: {**schema, "title": name} for name, schema in schemas.items()}


def _named(members: Json) -> Json:
    """Members of any name that fits one pattern, as generators of clients know them."""
    ((pattern, member),) = members.pop("patternProperties").items()
    return {**members, "propertyNames": {"pattern": pattern}, "additionalProperties": member}


def _any_step(step: Json, operations: Mapping[str, Operation]) -> Json:
    """The names there are; their parameters stand with each operation."""
    named = {**step["properties"]["operation"], "enum": list(operations)}
    return {**step, "properties": {**step["properties"], "operation": named}}


def params_schema(operation: Operation) -> Json:
    """Of what an operation takes."""
    schema = operation.params.model_json_schema(ref_template=REF)
    return inlined(schema)


def inlined(schema: Json) -> Json:
    """The schema without `$defs`: parameters are small, and their names must not clash."""
    definitions = schema.pop("$defs", {})
    for definition in definitions.values():
        definition.pop("title", None)  # it may stand here several times

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
    properties["params"] = {"$ref": REF.format(model=f"{stem}Params")}
    least, most = operation.min_inputs, operation.max_inputs
    properties["inputs"] = _bounded(properties["inputs"], least, most)
    required = {"operation"}
    if operation.params.model_json_schema().get("required"):
        required.add("params")
    if least and "anyOf" not in properties["inputs"]:
        required.add("inputs")
    return {
        **body,
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


def _any_operation(body: str, operations: Mapping[str, Operation]) -> Json:
    suffix = body.removesuffix("Request")
    refs = {operation: REF.format(model=pascal(operation) + suffix) for operation in operations}
    return {
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "operation", "mapping": refs},
    }


def pascal(name: str) -> str:
    """`image.resize` as a name of a schema: `ImageResize`."""
    return "".join(word.capitalize() for word in re.split(r"[._-]", name))
