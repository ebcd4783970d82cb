"""What a caller uses: a small Python client of the HTTP API."""

from fileproc.client.client import Client, ClientError

__all__ = ["Client", "ClientError"]
