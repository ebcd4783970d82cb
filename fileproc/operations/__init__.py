"""Operations on files. One module is one operation: parameters, and a plain function over paths."""

from fileproc.operations.environment import environment
from fileproc.operations.registry import (
    Operation,
    Params,
    catalogue,
    find,
    lacking,
    not_offered,
    offered,
    operation,
    programs_of,
    secret_params,
)
from fileproc.operations.work import (
    BadInput,
    Input,
    Limits,
    OutOfResources,
    Output,
    Work,
    clean_name,
)

__all__ = [
    "BadInput",
    "Input",
    "Limits",
    "Operation",
    "OutOfResources",
    "Output",
    "Params",
    "Work",
    "catalogue",
    "clean_name",
    "environment",
    "find",
    "lacking",
    "not_offered",
    "offered",
    "operation",
    "programs_of",
    "secret_params",
]
