"""Settings of where clients' URLs and buckets may lead."""

from __future__ import annotations

from functools import cache
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr, field_validator

from fileproc.connections import parse_connections
from fileproc.networks import networks
from fileproc.settings.fields import GIB, Positive, PositiveSeconds


class Reaching(BaseModel):
    """Clients' URLs and buckets."""

    connections: SecretStr | None = Field(
        None,
        description="Buckets of others that jobs may read and write as s3://<connection>/<key>:"
        " JSON, see docs/api.md. Mount it, and set FILEPROC_CONNECTIONS_FILE.",
    )
    outbound_allow: str = Field(
        "",
        description="Networks (CIDR, separated by commas) that URLs of clients may lead to although"
        " they are private, loopback or reserved.",
    )
    outbound_ports: str = Field(
        "80,443", description="Ports that URLs of clients may name; 8000-8999 is a range."
    )
    outbound_connect_s: PositiveSeconds = Field(
        10, description="Time to connect to a client's URL, with TLS."
    )
    outbound_idle_s: PositiveSeconds = Field(
        30, description="A client's URL that sends nothing for so long is given up."
    )
    import_timeout_s: PositiveSeconds = Field(
        600, description="Time to fetch the inputs of an attempt from clients' URLs."
    )
    import_redirects: Annotated[int, Field(ge=0, le=20)] = Field(
        5, description="Redirects that are followed from a client's URL."
    )
    import_unpacked_bytes: Positive = Field(
        1 * GIB, description="What a compressed answer of a client's URL may unpack to."
    )
    delivery_timeout_s: PositiveSeconds = Field(
        600, description="Time to send the outputs of an attempt to clients' places."
    )
    delivery_patience_s: Annotated[float, Field(ge=0)] = Field(
        60, description="A delivery that fails in passing is tried again for so long by an attempt."
    )

    @field_validator("connections")
    @classmethod
    def _connections(cls, value: SecretStr | None) -> SecretStr | None:
        parse_connections(value.get_secret_value() if value else "")
        return value

    @field_validator("outbound_allow")
    @classmethod
    def _networks(cls, value: str) -> str:
        networks(value)
        return value

    @field_validator("outbound_ports")
    @classmethod
    def _ports(cls, value: str) -> str:
        port_ranges(value)
        return value


def outbound_ports(settings: Reaching) -> tuple[range, ...]:
    """The ports that clients' URLs may name."""
    return port_ranges(settings.outbound_ports)


@cache
def port_ranges(text: str) -> tuple[range, ...]:
    """From `80,443,8000-8999`.

    Raises:
        ValueError: it names no port, or something else.
    """
    ranges = []
    for item in text.split(","):
        first, _, last = item.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ValueError("must be ports or ranges of them, such as 80,443,8000-8999")
        ports = range(int(first), int(last or first) + 1)
        if not ports or ports[0] < 1 or ports[-1] > 65535:  # noqa: PLR2004 - the last port
            raise ValueError(f"{item.strip()!r} is not a range within 1-65535")
        ranges.append(ports)
    return tuple(ranges)
