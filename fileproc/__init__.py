"""fileproc: a self-hosted asynchronous file processing and download API."""

__version__ = "0.1.0"
