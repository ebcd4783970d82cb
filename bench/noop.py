"""An operation that does nothing; imported by the zygote of `bench/sandbox.py`."""

from fileproc.operations import Params, Work, operation


class Nothing(Params):
    pass


@operation(
    "debug.nothing",
    summary="Do nothing.",
    params=Nothing,
    accepts=("*/*",),
    produces=(),
    example={},
    min_inputs=0,
    debug=True,
)
def nothing(work: Work, params: Nothing) -> None:
    """Return."""
    del work, params
