"""URLs that answer GET: signed by botocore's signer, without the long way to it.

`generate_presigned_url` finds out for each URL where the bucket is, and builds a request like any
other: half a millisecond of CPU. Where it is does not change, so that is learned once, from a URL
that botocore made; what remains is the signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlencode

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_aiobotocore_s3 import S3Client

_PROBE: Final = "files/probe"  # a key of our form; nothing needs to be there


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects are: their URLs begin with `root`; they are signed for `region`."""

    root: str
    region: str


class GetSigner:
    """Signs for one bucket.

    Args:
        client: has the endpoint.
        credentials: those of its session, which renews them; None where there are none.
        bucket: its name.
    """

    def __init__(self, client: S3Client, credentials: Any, bucket: str) -> None:
        self._client = client
        self._credentials = credentials
        self._bucket = bucket
        self._place: Place | None = None

    async def url(self, key: str, answers: Mapping[str, str], ttl_s: int) -> str:
        """A URL of this object, good for `ttl_s`; `answers` go into its query (`response-...`).

        Raises:
            BotoCoreError: there are no credentials, or they cannot be renewed.
        """
        if self._place is None:
            self._place = await self._learned()
        frozen = await self._credentials.get_frozen_credentials()
        path = quote(key, safe="/-_.~")
        query = urlencode(answers, quote_via=quote, safe="-_.~")
        request = AWSRequest("GET", f"{self._place.root}{path}?{query}")
        S3SigV4QueryAuth(frozen, "s3", self._place.region, expires=ttl_s).add_auth(request)
        return str(request.url)

    async def _learned(self) -> Place:
        url = await self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": _PROBE}, ExpiresIn=60
        )
        path, _, query = url.partition("?")
        # key id / day / region / service / aws4_request
        region = parse_qs(query)["X-Amz-Credential"][0].split("/")[-3]
        return Place(path.removesuffix(_PROBE), region)
