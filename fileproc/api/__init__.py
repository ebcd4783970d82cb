"""The HTTP role: takes jobs, shows them, and leads to their results. It does no work itself."""

from fileproc.api.app import make_app, run_api

__all__ = ["make_app", "run_api"]
