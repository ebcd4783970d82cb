"""Generators of clients take the document as it is: nothing of it is left out, or in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.node import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)

# A program over the generated types: it must be as typed as it looks.
USE = """
import type { components, operations, paths } from "./api";

type Job = components["schemas"]["JobView"];
type Query = NonNullable<paths["/v1/jobs/image.resize"]["put"]["parameters"]["query"]>;

export const query: Query = { width: 800, format: "webp" };
// @ts-expect-error: there is no such format
export const wrong: Query = { width: 800, format: "word" };
export const body: components["schemas"]["JobRequest"] = {
  operation: "file.hash",
  inputs: [{ file_id: "file_01kqb4h0nme8atrb9rgb0yvm3j" }],
};
export type Answer = operations["getJob"]["responses"]["200"]["content"]["application/json"];
export const done = (job: Answer): job is Job => job.state === "succeeded";
"""


async def test_openapi_typescript_takes_the_document_and_its_types_are_sound(
    serve: Any, tmp_path: Path
) -> None:
    api = await serve(debug_operations=False)
    document, types, use = (tmp_path / name for name in ("openapi.json", "api.ts", "use.ts"))
    document.write_bytes(await (await api.get("/openapi.json")).read())
    said = await run(
        *("node_modules/openapi-typescript/bin/cli.js", str(document), "--output", str(types)),
        "--default-non-nullable=false",  # what has a default may be left out of a request
    )
    assert "⚠" not in said
    assert "warn" not in said.lower()
    use.write_text(USE)
    options = ("--noEmit", "--strict", "--exactOptionalPropertyTypes")
    assert await run("node_modules/typescript/bin/tsc", *options, str(use)) == ""


async def test_no_two_types_have_one_title(serve: Any) -> None:
    """Generators name types by their titles."""
    api = await serve(debug_operations=False)
    schemas = (await (await api.get("/openapi.json")).json())["components"]["schemas"]
    assert {name: schema["title"] for name, schema in schemas.items()} == {
        name: name for name in schemas
    }
