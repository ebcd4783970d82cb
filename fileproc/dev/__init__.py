"""The embedded engines of `fileproc dev`, the demo and the tests: real servers, real processes."""
