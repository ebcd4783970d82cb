"""One job by a client that openapi-python-client has made: python generated.py URL KEY FILE OUTPUT.

The package `generated_client` is found on PYTHONPATH.
"""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
from generated_client import AuthenticatedClient
from generated_client.api.jobs import get_job, get_result
from generated_client.api.submit import put_image_resize
from generated_client.models import JobView, ProblemView, PutImageResizeFormat
from generated_client.types import File


def main() -> None:
    url, key, source, target = sys.argv[1:]
    with AuthenticatedClient(url, key, raise_on_unexpected_status=True) as client:
        with Path(source).open("rb") as content:
            refused = put_image_resize.sync(client=client, body=File(content))
            assert isinstance(refused, ProblemView), refused
            assert refused.code == "invalid_request", refused
            content.seek(0)
            job = put_image_resize.sync(
                client=client, body=File(content), width=40, format_=PutImageResizeFormat.WEBP
            )
        assert isinstance(job, JobView), job
        job = get_job.sync(job.id, client=client, wait=60)
        assert isinstance(job, JobView), job
        assert job.state == "succeeded", job
        answer = get_result.sync_detailed(job.id, client=client)
    picture = httpx.get(answer.headers["Location"])  # the storage is not shown the key
    Path(target).write_bytes(picture.raise_for_status().content)


if __name__ == "__main__":
    main()
