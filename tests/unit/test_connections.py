from __future__ import annotations

import json

import pytest

from fileproc.connections import parse_connections, place_of
from fileproc.errors import UrlNotAllowedError

ONE = {
    "bucket": "docs",
    "access_key_id": "id",
    "secret_access_key": "hidden",
    "owners": ["acme"],
}


def test_a_place_has_a_connection_and_a_key() -> None:
    assert place_of("s3://a-b/c/d e.pdf") == ("a-b", "c/d e.pdf")
    assert place_of("s3://a/c/") == ("a", "c/")
    assert place_of("s3://a/b?c#d") == ("a", "b?c#d")
    assert place_of("s3://a/") == ("a", "")


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3://a", "s3:///b", "S3://a/b", "s3://A/b", "s3://a:b@c/d", "s3://a.b/c"),
        *("s3://a//b", "s3://a/../b", "s3://a/b/..", "s3://a/./b", "s3://a/b//", "s3://a/b\\c"),
        *("s3://a/b\n", "s3://a/\x00", "s3://a/" + "x" * 901),
    ],
)
def test_a_key_that_could_climb_is_refused(url: str) -> None:
    with pytest.raises(UrlNotAllowedError):
        place_of(url)


def test_a_connection_serves_whom_it_names_and_only_as_it_says() -> None:
    known = parse_connections(json.dumps({"a": ONE, "b": {**ONE, "owners": ["*"], "write": True}}))
    assert known["a"].permits("acme", write=False)
    assert not known["a"].permits("acme", write=True)
    assert not known["a"].permits("other", write=False)
    assert known["b"].permits("other", write=True)
    assert "hidden" not in repr(known)


@pytest.mark.parametrize("text", ["[]", "{", '{"A": {}}', '{"a": {"bucket": "b"}}', '{"a": 1}'])
def test_what_is_no_connection_is_complained_about_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="must be JSON"):
        parse_connections(text)
