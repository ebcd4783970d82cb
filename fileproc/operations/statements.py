"""SQL that others wrote: one SELECT over the table `data`, and nothing that reaches beyond it.

DuckDB parses it; we look at every node of the tree and let pass what we know, and what runs is
written anew from that tree, so that no second reading can differ from the first. The engine is
locked as well: it may open the table and the result, by a name of chance, and change no setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from fileproc.operations.work import BadInput

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLE: Final = "data"
MAX_LENGTH: Final = 20_000  # characters of a statement
_MOST_NODES: Final = 20_000

# What a statement consists of besides expressions, which have a `class`.
_NODES: Final = frozenset(
    {
        *("SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"),
        *("BASE_TABLE", "SUBQUERY", "JOIN", "EXPRESSION_LIST", "EMPTY", "PIVOT"),
        "TABLE_FUNCTION",
        *("LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER", "DISTINCT_MODIFIER"),
        *("ASCENDING", "DESCENDING", "ORDER_DEFAULT"),
    }
)
_TABLE_FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series"})
# Functions that tell of the engine, wait, write, plan other queries, or read states of memory
# that a caller could forge.
_REFUSED: Final = re.compile(
    r"current_(setting|query|query_id|connection_id|transaction_id|schemas?|database|catalog)"
    r"|getenv|getvariable|in_search_path|write_log|sleep_ms|nextval|setval|currval|setseed|stats"
    r"|(json_)?(de)?serialize_(sql|plan)|json_(de)?serialize_\w+|query(_table)?|cast_to_type"
    r"|finalize|combine|to_aggregate_state|invoke|vector_type|txid_current|which_secret|version"
    r"|pg_\w+|__\w+|duckdb_\w+|pragma_\w+|read_\w+|parquet_\w+|sniff_\w+|glob|inet_\w+"
    r"|has_\w+_privilege|get_block_size|add_parquet_key|create_sort_key|parse_duckdb_log_message",
    re.IGNORECASE,
)
_PLAIN_NAME: Final = re.compile(r"[^\W\d]\w{0,62}")


def checked(connection: DuckDBPyConnection, sql: str) -> str:
    """The statement, written anew, if it is one SELECT that reads the table and nothing else.

    Raises:
        BadInput: `bad_query`.
    """
    import duckdb

    try:
        found = connection.execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
        text = str(found[0]) if found else "{}"
        tree = json.loads(text)
        _check(tree)
        again = connection.execute("SELECT json_deserialize_sql($1::JSON)", [text]).fetchone()
    except (duckdb.Error, ValueError, RecursionError) as exc:
        raise refused("it cannot be read") from exc
    return str(again[0]) if again else ""


def refused(why: str) -> BadInput:
    return BadInput(
        f"The statement is refused: {why}. It is to be one SELECT over the table {TABLE}.",
        code="bad_query",
    )


def complaint(message: str) -> BadInput:
    """What DuckDB says of a statement that it cannot run, in a line."""
    line = " ".join(message.split("\n", 1)[0].split())[:300].rstrip(".!")
    if not line or "/" in line or "\\" in line:  # never a path
        line = "it cannot be run"
    return BadInput(f"The statement fails: {line}.", code="bad_query")


def _check(tree: dict[str, Any]) -> None:
    if tree.get("error"):
        message = str(tree.get("error_message", ""))
        if "Only SELECT" in message:
            raise refused("it is no SELECT")
        raise complaint(message)
    if len(tree.get("statements", ())) != 1:
        raise refused("it is more than one")
    nodes = list(_nodes(tree))
    tables = {TABLE, *(name for node in nodes for name in _named(node))}
    for node in nodes:
        if "class" in node:
            _check_expression(node)
        elif isinstance(node.get("type"), str):
            _check_node(node, tables)


def _nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in the tree."""
    waiting: list[Any] = [tree]
    count = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += 1
            if count > _MOST_NODES:
                raise refused("it is too long")
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _named(node: dict[str, Any]) -> Iterator[str]:
    """The names that a WITH gives; plain ones, so that none can be the name of a file."""
    for entry in (node.get("cte_map") or {}).get("map", ()):
        name = str(entry.get("key", ""))
        if not _PLAIN_NAME.fullmatch(name):
            raise refused("names in WITH are to be letters and digits")
        yield name.lower()


def _check_expression(node: dict[str, Any]) -> None:
    if node["class"] == "PARAMETER":
        raise refused("it has a parameter")
    if node["class"] not in {"FUNCTION", "WINDOW"}:
        return
    name = str(node.get("function_name", ""))
    if node.get("catalog") or str(node.get("schema") or "main") != "main":
        raise refused("it names a function of another schema")
    if _REFUSED.fullmatch(name):
        raise refused(f"the function {name[:60]} is not allowed")


def _check_node(node: dict[str, Any], tables: set[str]) -> None:
    kind = node["type"]
    if kind == "RECURSIVE_CTE_NODE":
        raise refused("WITH RECURSIVE, which may never end, is not allowed")
    if kind not in _NODES and not kind.endswith("_TYPE_INFO"):
        raise refused("it does more than select")
    if kind == "BASE_TABLE":
        named = str(node.get("table_name", "")).lower()
        if node.get("schema_name") or node.get("catalog_name") or named not in tables:
            raise refused("it names another table")
        if node.get("at_clause"):
            raise refused("the table has one version only")
    if kind == "TABLE_FUNCTION":
        function = node.get("function") or {}
        if str(function.get("function_name", "")).lower() not in _TABLE_FUNCTIONS:
            raise refused("it calls a function in the place of a table")
