"""Small changes to Python source: each replaces the text of one expression or statement.

Left out is what no test should pin down: texts for people, the log, the metrics, annotations,
decorators, and tuning constants of a module (`BACKOFF_S = 2`).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
REDUCED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# Calls whose arguments are for people or for measurement.
QUIET = {"log", "get_logger", "Field", "labels", "inc", "observe", "set", "crash_point"}
SENTENCE_SPACES = 3  # a text with as many is for people
# Names of arguments that hold texts for people.
TEXTS = {"detail", "title", "type", "description", "name", "retry_after_s"}


@dataclass(frozen=True)
class Mutation:
    """`old` stands at these bytes of the file; lines are counted from 1, the end is not one."""

    path: str
    lines: tuple[int, int]
    start: int
    end: int
    old: str
    new: str

    def applied_to(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.new.encode() + raw[self.end :]).decode()

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:70] for text in (self.old, self.new))
        return f"{self.path}:{self.lines[0]}  {old}  ->  {new}"


def mutations_of(path: str, source: str) -> Iterator[Mutation]:
    """All of a file, in order; none twice, and none that does not compile."""
    raw = source.encode()
    offsets = [0]
    for line in raw.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    seen = set()
    for node, changed in _Finder().changes(ast.parse(source)):
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        new = changed if isinstance(changed, str) else f"({ast.unparse(changed)})"
        mutation = Mutation(
            path,
            (node.lineno, (node.end_lineno or 0) + 1),
            *(start, end, raw[start:end].decode(), new),
        )
        if (start, end, new) not in seen and _compiles(mutation.applied_to(source)):
            seen.add((start, end, new))
            yield mutation


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


Change = tuple[ast.expr | ast.stmt, ast.expr | str]


class _Finder:
    """Walks the tree, not into what is left out."""

    def changes(self, node: ast.AST) -> Iterator[Change]:
        if _is_quiet(node):
            return
        if isinstance(node, ast.expr | ast.stmt):
            yield from _changed(node)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list", "type_comment", "bases"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not _is_text(node, child):
                    yield from self.changes(child)


def _is_quiet(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.AnnAssign(value=None):
            return True
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            tuning = name.isupper() and isinstance(value, ast.Constant | ast.BinOp | ast.Tuple)
            return tuning or name.startswith("__") or isinstance(value, ast.Subscript)
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in QUIET or _root(node) == "log" or name.endswith("Error")
    return False


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_text(node: ast.AST, child: ast.AST) -> bool:
    """A named argument for people, or the name of a task."""
    del node
    return isinstance(child, ast.keyword) and child.arg in TEXTS


def _changed(node: ast.expr | ast.stmt) -> Iterator[Change]:
    if isinstance(node, ast.Constant):
        yield from _other_constant(node)
    elif isinstance(node, ast.expr):
        yield from _other_expression(node)
    else:
        yield from _other_statement(node)
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not isinstance(test, ast.Compare | ast.UnaryOp | ast.Constant):
                yield test, ast.UnaryOp(ast.Not(), test)


def _other_constant(node: ast.Constant) -> Iterator[Change]:
    match node.value:
        case bool(value):
            yield node, ast.Constant(not value)
        case int(value) | float(value):
            yield node, ast.Constant(value + 1)
        case str(value) if value and value.count(" ") < SENTENCE_SPACES:
            yield node, ast.Constant(f"XX{value}XX")


def _other_expression(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARED:
            yield node, _with(node, ops=[COMPARED[type(operator)]()])
        case ast.BoolOp(op=operator):
            yield node, _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, operand
        case ast.BinOp(op=operator) if type(operator) in REDUCED:
            yield node, _with(node, op=REDUCED[type(operator)]())


def _other_statement(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.Return(value=ast.expr() as value) if not _is_constant(value, None):
            yield node, "return None"
        case ast.Expr(value=ast.Call() | ast.Await() as call) if not _is_quiet(_awaited(call)):
            yield node, "pass"
        case ast.AugAssign():
            yield node, "pass"
        case ast.Break():
            yield node, "continue"
        case ast.Continue():
            yield node, "break"


def _awaited(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Await) else node


def _is_constant(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _with(node: ast.expr, **fields: object) -> ast.expr:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
