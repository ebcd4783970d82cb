"""Real operations, with their engines, at work inside every layer that this kernel has."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pypdfium2
import pytest
from PIL import Image

from fileproc.worker.sandbox import Assignment, Ending
from samples import parquet, xlsx
from support.confined import MIB, Confined, RunOperation

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def run(confined: Confined) -> RunOperation:
    async def run(*args: Any, **params: Any) -> Ending:
        ending = await confined.within(1024 * MIB).run(*args, **params)
        assert ending.error is None, ending.error
        return ending

    return run


def picture(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def table(rows: int) -> bytes:
    return b"id,name,value\n" + b"".join(b"%d,n%d,%d.5\n" % (n, n % 7, n) for n in range(rows))


def document(pages: int) -> bytes:
    pdf = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        pdf.new_page(200, 100)
    buffer = io.BytesIO()
    pdf.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
async def test_pyvips_makes_every_format(run: RunOperation, tmp_path: Path, kind: str) -> None:
    ending = await run(
        tmp_path, "image.resize", (picture("JPEG"), "image/jpeg"), width=64, format=kind
    )
    with Image.open(ending.outputs[0].path) as image:
        assert image.format == kind.upper()
        assert image.width == 64
    assert "pyvips" in (ending.engine or "")


async def test_pypdfium2_renders_pages(run: RunOperation, tmp_path: Path) -> None:
    ending = await run(tmp_path, "pdf.to_images", (document(3), "application/pdf"))
    assert len(ending.outputs) == 3
    for output in ending.outputs:
        with Image.open(output.path) as image:
            image.load()


async def test_duckdb_writes_parquet_with_its_threads(run: RunOperation, tmp_path: Path) -> None:
    ending = await run(tmp_path, "table.convert", (table(200_000), "text/csv"), to="parquet")
    path = ending.outputs[0].path
    found = duckdb.execute("select count(*), sum(id) from read_parquet(?)", [str(path)]).fetchone()
    assert found == (200_000, sum(range(200_000)))


TABLES: dict[str, dict[str, Any]] = {
    "table.convert": {"to": "xlsx", "schema": {"id": "integer"}, "on_error": "reject"},
    "table.profile": {},
    "table.query": {"group_by": ["name"], "aggregate": [{"function": "sum", "column": "value"}]},
    "table.deduplicate": {"columns": ["name"]},
    "table.split": {"column": "name"},
}
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize("operation", TABLES)
async def test_tables_of_every_kind_are_worked_on(
    run: RunOperation, tmp_path: Path, operation: str
) -> None:
    text = table(2_000)
    columns = "SELECT range AS id, 'n' || range % 7 AS name, range + 0.5 AS value"
    given = [
        ("text/csv", text),
        ("application/vnd.apache.parquet", parquet(f"{columns} FROM range(2000)")),
        (XLSX, xlsx([["id", "name", "value"], [1, "a", 2.5], [2, "b", 3.5]])),
    ]
    for media_type, data in given:
        folder = tmp_path / media_type.rpartition(".")[2].replace("/", "-")
        folder.mkdir()
        ending = await run(folder, operation, (data, media_type), **TABLES[operation])
        assert ending.outputs
        assert all(output.path.stat().st_size for output in ending.outputs)


async def test_wide_table_is_profiled_in_the_memory_of_an_attempt(
    run: RunOperation, tmp_path: Path
) -> None:
    """What an engine sets aside counts, whether it is used or not."""
    names = [f"c{number}" for number in range(120)]
    data = "".join(",".join(row) + "\n" for row in (names, *[["1.5"] * 120] * 3)).encode()
    ending = await run(tmp_path, "table.profile", (data, "text/csv"))
    assert len(ending.outputs) == 2


async def test_statement_of_sql_is_answered(run: RunOperation, tmp_path: Path) -> None:
    sql = "SELECT name, count(*) AS n FROM data GROUP BY name ORDER BY name LIMIT 1"
    ending = await run(tmp_path, "table.query", (table(2_000), "text/csv"), sql=sql)
    assert ending.outputs[0].path.read_bytes() == b"name,n\nn0,286\n"


async def test_fonts_can_be_read(confined: Confined, assign: Callable[..., Assignment]) -> None:
    """As libvips and PDFium look for them, by fontconfig and by folder."""
    ending = await confined.sandbox.run(assign("draw_text"), lambda _: None)
    assert ending.error is None, ending.error
    width, height = (int(value) for value in ending.outputs[0].path.read_text().split())
    assert width > height > 0


async def test_the_zygote_knows_nothing_of_the_workers_side(
    confined: Confined, assign: Callable[..., Assignment]
) -> None:
    ending = await confined.sandbox.run(assign("list_modules"), lambda _: None)
    modules = set(ending.outputs[0].path.read_text().split())
    assert {"pyvips", "pypdfium2", "duckdb"} <= modules
    assert not modules & {
        *("asyncio", "redis", "aiohttp", "aioboto3", "botocore", "structlog"),
        *("fileproc.settings", "fileproc.telemetry", "fileproc.store", "fileproc.worker.sandbox"),
    }
