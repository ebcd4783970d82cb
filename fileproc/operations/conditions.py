"""Conditions on the rows of a table: a grammar in JSON, and the SQL that we make of it.

Names become quoted identifiers, once they are found among the columns; values become parameters.
Nothing that a caller wrote becomes part of a statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from fileproc.operations import naming, tables
from fileproc.operations.columnar import Column, judged, quoted
from fileproc.operations.work import BadInput

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DEEPEST: Final = 10  # conditions within conditions
_MOST_CONDITIONS: Final = 200
_MOST_VALUES: Final = 1_000  # in one list
_NAME: Final = 500  # characters of the name of a column


def from_text(value: Any) -> Any:
    """In a query of an address, what is no plain text is written as JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise ValueError("this is not valid JSON") from exc


Name = Annotated[str, Field(max_length=_NAME)]
Scalar = (
    Annotated[str, Field(max_length=10_000)]
    | bool
    | Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
    | Annotated[float, Field(allow_inf_nan=False)]
)

_COMPARE: Final = {
    **{op: op for op in ("=", "<", "<=", ">", ">=")},
    "!=": "IS DISTINCT FROM",
    "between": "BETWEEN",
}
_LISTS: Final = {
    "in": "%(cell)s IN (%(values)s)",
    "not_in": "(%(cell)s IS NULL OR %(cell)s NOT IN (%(values)s))",
}
_SEARCH: Final = {"contains": "contains", "starts_with": "starts_with", "ends_with": "ends_with"}


class Condition(BaseModel):
    """One comparison, or several joined by all (and) or any (or), or the opposite of one (not)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, serialize_by_alias=True, populate_by_name=False
    )

    column: Name | None = Field(None, description="Name of the column that is compared.")
    op: (
        Literal[
            "=",
            "!=",
            "<",
            "<=",
            ">",
            ">=",
            "in",
            "not_in",
            "between",
            "contains",
            "starts_with",
            "ends_with",
            "is_null",
            "not_null",
        ]
        | None
    ) = Field(None, description="How it is compared. Null is unlike every value.")
    value: Scalar | Annotated[list[Scalar], Field(max_length=_MOST_VALUES)] | None = Field(
        None,
        description="What it is compared with; a list for in and not_in, a pair for between.",
    )
    all: Annotated[list[Nested], Field(min_length=1)] | None = Field(
        None, description="Conditions that must all hold."
    )
    any: Annotated[list[Nested], Field(min_length=1)] | None = Field(
        None, description="Conditions of which one must hold."
    )
    negated: Nested | None = Field(None, alias="not", description="What must not hold.")

    @model_validator(mode="after")
    def _one_thing(self) -> Condition:
        parts = (self.column, self.all, self.any, self.negated)
        if sum(part is not None for part in parts) != 1:
            raise ValueError("give one of: column with op, all, any, not")
        if (self.column is None) != (self.op is None):
            raise ValueError("column and op belong together")
        self._check_value()
        return self

    def _check_value(self) -> None:
        value, op = self.value, self.op
        if op in {None, "is_null", "not_null"}:
            good = value is None
        elif op in {"in", "not_in"}:
            good = isinstance(value, list) and len(value) > 0
        elif op == "between":
            good = isinstance(value, list) and len(value) == 2  # noqa: PLR2004 - a pair
        else:
            good = value is not None and not isinstance(value, list)
        if not good:
            raise ValueError(
                "value: one for a comparison, a list for in and not_in, a pair for between,"
                " none for is_null and not_null"
            )

    def parts(self) -> list[Condition]:
        """The conditions within this one."""
        return [*(self.all or ()), *(self.any or ()), *([self.negated] if self.negated else ())]


# In the schema a condition within another is an object: OpenAPI has every definition in its place,
# and one within itself has none.
Nested = Annotated[
    Condition, WithJsonSchema({"type": "object", "description": "A condition like this one."})
]
Condition.model_rebuild()


def bounded(condition: Condition | None) -> Condition | None:
    """The condition, if it is neither deeper nor larger than one may be."""
    level, count = [condition] if condition else [], 0
    for _ in range(_DEEPEST):
        count += len(level)
        level = [part for one in level for part in one.parts()]
    if level or count > _MOST_CONDITIONS:
        raise ValueError(
            f"give at most {_MOST_CONDITIONS} conditions, at most {_DEEPEST} within each other"
        )
    return condition


Filter = Annotated[Condition | None, BeforeValidator(from_text)]


class Columns:
    """The columns that a statement may name; found by their exact names."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self._types = {column.name: column.type for column in columns}

    def type(self, name: str) -> str:
        """The type of a column in DuckDB.

        Raises:
            BadInput: `unknown_column`.
        """
        if name not in self._types:
            raise tables.unknown_column(name, list(self._types))
        return self._types[name]

    def numeric(self, name: str) -> bool:
        """Whether it is a column of numbers."""
        kind = self.type(name)
        return kind in {"FLOAT", "DOUBLE", "INTEGER", "UINTEGER"} or (
            kind.endswith("INT") or kind.startswith("DECIMAL")
        )

    def quoted(self, name: str) -> str:
        """The column in SQL."""
        self.type(name)
        return quoted(name)


class Compiler:
    """Makes SQL of conditions and gathers the values of its parameters."""

    def __init__(self, connection: DuckDBPyConnection, values: list[Any]) -> None:
        self._connection = connection
        self.values = values

    def condition(self, condition: Condition, columns: Columns) -> str:
        """SQL that is true or false, never null.

        Raises:
            BadInput: `unknown_column` or `bad_query`.
        """
        if condition.negated is not None:
            return f"(NOT {self.condition(condition.negated, columns)})"
        if condition.column is None:
            word = " AND " if condition.all is not None else " OR "
            return "(" + word.join(self.condition(c, columns) for c in condition.parts()) + ")"
        return f"coalesce({self._comparison(condition, columns)}, false)"

    def _comparison(self, condition: Condition, columns: Columns) -> str:
        name, op, value = condition.column or "", condition.op or "", condition.value
        cell, kind = columns.quoted(name), columns.type(name)
        if op in {"is_null", "not_null"}:
            return f"{cell} IS {'NOT ' if op == 'not_null' else ''}NULL"
        if op in _SEARCH:
            if kind != "VARCHAR":
                raise _unfit(name, kind, f"{op} is for columns of text")
            return f"{_SEARCH[op]}({cell}, {self._bound(value, name, kind, columns)})"
        if kind not in _COMPARABLE and not columns.numeric(name):
            cell, kind = f"{cell}::VARCHAR", "VARCHAR"
        given: Sequence[Any] = value if isinstance(value, list) else [value]
        bound = [self._bound(one, name, kind, columns) for one in given]
        if op in _LISTS:
            return _LISTS[op] % {"cell": cell, "values": ", ".join(bound)}
        return f"{cell} {_COMPARE[op]} {' AND '.join(bound)}"

    def _bound(self, value: Any, name: str, kind: str, columns: Columns) -> str:
        """A parameter with the value, as a value of the column's type."""
        if kind == "VARCHAR":
            if not isinstance(value, str):
                raise _unfit(name, "text", "compare it with a text")
            return self._parameter(value)
        if kind == "BOOLEAN":
            if not isinstance(value, bool):
                raise _unfit(name, "true or false", "compare it with one of those")
            return self._parameter(value)
        if columns.numeric(name):
            return self._parameter(_number(value, name, exact=_is_exact(kind)))
        if not isinstance(value, str) or not self._is(value, kind):
            raise _unfit(name, kind.lower(), "compare it with a text that says one")
        return f"CAST({self._parameter(value)} AS {kind})"

    def _parameter(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def _is(self, value: str, kind: str) -> bool:
        with judged():
            found = self._connection.execute(
                f"SELECT TRY_CAST($1 AS {kind}) IS NOT NULL", [value]
            ).fetchone()
        return bool(found and found[0])


_COMPARABLE: Final = {
    "VARCHAR",
    "BOOLEAN",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP_S",
    "TIMESTAMP_MS",
    "TIMESTAMP_NS",
}


def _is_exact(kind: str) -> bool:
    """Whether a column has numbers with more digits than JSON's numbers keep."""
    return kind.startswith("DECIMAL") or kind == "UBIGINT"


def _number(value: Any, name: str, *, exact: bool) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if exact and isinstance(value, str) and len(value) <= 40:  # noqa: PLR2004 - sign, point, digits
        try:
            number = Decimal(value)
        except ArithmeticError:
            number = Decimal("nan")
        if number.is_finite() and abs(number.adjusted()) < 38:  # noqa: PLR2004 - as above
            return number
    advice = "compare it with a number" + (", not with a text" if isinstance(value, str) else "")
    raise _unfit(name, "numbers", advice)


def _unfit(name: str, kind: str, advice: str) -> BadInput:
    return BadInput(f"The column {naming.quoted(name)} is of {kind}: {advice}.", code="bad_query")
