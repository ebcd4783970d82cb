from __future__ import annotations

from pathlib import Path

import pytest

from fileproc.errors import SettingsError, UrlNotAllowedError
from fileproc.outbound import Networks, check_url, refusal
from fileproc.outbound.urls import MAX_URL_CHARS
from fileproc.settings import Settings, load_settings
from support.spellings import INSIDE_4, INSIDE_6, OUTSIDE, embedded, refused_urls


def of(**others: str) -> Settings:
    given = {"outbound_ports": "1-65535", **others}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]  # pydantic's own


def test_no_address_of_an_inner_network_may_be_called() -> None:
    assert [each for each in (*INSIDE_4, *INSIDE_6) if refusal(each) is None] == []


def test_public_addresses_may_be_called() -> None:
    assert {each: refusal(each) for each in OUTSIDE} == dict.fromkeys(OUTSIDE)


def test_an_inner_address_may_not_be_called_in_whatever_address_it_is_carried() -> None:
    carriers = [each for inner in INSIDE_4 for each in embedded(inner)]
    assert len(carriers) > 300
    assert [each for each in carriers if refusal(each) is None] == []


def test_what_is_no_address_may_not_be_called() -> None:
    for text in ("", "localhost", "1.2.3", "01.2.3.4", "1.2.3.4/32", "::g"):
        assert refusal(text)


def test_a_scope_does_not_hide_an_address() -> None:
    assert refusal("fe80::1%eth0") == "link-local"


def test_the_operator_can_permit_networks_and_only_those_open() -> None:
    allowed = Networks.parse("127.0.0.0/8, 10.1.0.0/16,fd00::/8")
    assert refusal("127.0.0.1", allowed) is None
    assert refusal("10.1.2.3", allowed) is None
    assert refusal("fd00::1", allowed) is None
    assert refusal("10.2.0.1", allowed) == "private"
    assert refusal("::1", allowed) == "loopback"
    assert refusal("::ffff:127.0.0.1", allowed) == "IPv4 in IPv6"


def test_a_permitted_translator_does_not_open_what_is_behind_it() -> None:
    allowed = Networks.parse("64:ff9b::/96")
    assert refusal("64:ff9b::8.8.8.8", allowed) is None
    assert refusal("64:ff9b::10.0.0.1", allowed) == "private"


def test_more_than_300_spellings_are_refused_when_submitted() -> None:
    settings = of()
    vectors = set(refused_urls(8123))
    assert len(vectors) > 300
    passed = set()
    for url in vectors:
        try:
            check_url(url, settings)
        except UrlNotAllowedError:
            continue
        passed.add(url)
    # Names that may be anybody's; who they lead to is judged when they are called.
    assert passed == {"http://1e3:8123/", "http://example.com#@127.0.0.1:8123@/"}


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("http://example.com", "http://example.com"),
        ("HTTPS://Example.COM/a/b.pdf?x=1&y=%20", "https://example.com/a/b.pdf?x=1&y=%20"),
        ("http://xn--bcher-kva.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://93.184.216.34:8080/x", "http://93.184.216.34:8080/x"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("http://a_b.example/", "http://a_b.example/"),
        ("http://minio:9000/", "http://minio:9000/"),
        ("http://example.com/a@b:c", "http://example.com/a@b:c"),
        ("http://example.com?q=a@b", "http://example.com/?q=a@b"),
    ],
)
def test_plain_urls_are_taken(url: str, requested: str) -> None:
    assert str(check_url(url, of())) == requested


def test_only_configured_ports_may_be_named() -> None:
    settings = of(outbound_ports="80,443,8000-8002")
    for url in ("http://e.example/", "https://e.example/", "http://e.example:8002/"):
        check_url(url, settings)
    for url in ("http://e.example:22/", "https://e.example:8003/", "http://e.example:6379/"):
        with pytest.raises(UrlNotAllowedError, match="port"):
            check_url(url, settings)


def test_an_endless_url_is_refused() -> None:
    with pytest.raises(UrlNotAllowedError, match="characters"):
        check_url("http://example.com/" + "a" * MAX_URL_CHARS, of())


def test_loopback_is_taken_where_the_operator_permits_it() -> None:
    settings = of(outbound_allow="127.0.0.0/8")
    check_url("http://127.0.0.1:1234/", settings)
    check_url("http://localhost:1234/", settings)
    with pytest.raises(UrlNotAllowedError):
        check_url("http://[::1]/", settings)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FILEPROC_OUTBOUND_ALLOW", "10.0.0.1/8"),
        ("FILEPROC_OUTBOUND_ALLOW", "inside"),
        ("FILEPROC_OUTBOUND_PORTS", "0"),
        ("FILEPROC_OUTBOUND_PORTS", "80,http"),
        ("FILEPROC_OUTBOUND_PORTS", "9-8"),
        ("FILEPROC_OUTBOUND_PORTS", "70000"),
        ("FILEPROC_OUTBOUND_PORTS", ","),
    ],
)
def test_settings_that_say_nothing_sensible_are_complained_about(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable):
        load_settings()
