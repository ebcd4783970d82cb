"""Without keys: pages of other origins change nothing, names that lead here read nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fileproc.api.routes import ENDPOINTS
from fileproc.api.visitors import SAFE
from fileproc.errors import SettingsError
from fileproc.settings import Auth, load_settings
from fileproc.store import Role, Store
from fileproc.telemetry import VISITORS_REFUSED
from support.http import Hands, problem, submit
from support.surface import Someone, bearer, call

EVIL = "http://evil.example"
# As a browser sends it for a form of another page, and as an older one does.
FOREIGN = (
    {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": ""},
)
REBOUND = (
    "evil.example",
    "evil.example:80",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "notlocalhost",
    "evil.example.",
    "x@localhost",
    "localhost:80:80",
    "[::1",
    "0x7f.1",
    "",
)
OURS = ("127.0.0.1", "127.9.9.9:8080", "localhost", "LOCALHOST:8080", "a.localhost", "[::1]:80")


def form() -> dict[str, Any]:
    """What a page may send without asking first."""
    return {
        "data": b'--b\r\nContent-Disposition: form-data; name="job"\r\n\r\n'
        b'{"operation": "debug.sleep"}\r\n--b--\r\n',
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    }


async def count_jobs(api: Any) -> int:
    return len((await (await api.get("/v1/jobs")).json())["data"])


async def test_a_form_of_another_page_submits_nothing(api: Any) -> None:
    sent = form()
    for foreign in FOREIGN:
        headers = {**sent["headers"], **foreign}
        answer = await api.post("/v1/jobs", data=sent["data"], headers=headers)
        await problem(answer, 403, "origin_not_allowed")
    assert await count_jobs(api) == 0
    own = f"http://{api.server.host}:{api.server.port}"
    for fine in (
        {},
        {"Origin": own},
        {"Origin": own, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        answer = await api.post("/v1/jobs", data=sent["data"], headers={**sent["headers"], **fine})
        assert answer.status == 202, (fine, await answer.text())


async def test_no_route_that_changes_something_takes_a_page_of_another_origin(
    serve: Any, store: Store, hands: Hands
) -> None:
    api = await serve()
    someone = Someone(api, store, hands, {"Origin": EVIL})
    unsafe = [endpoint for endpoint in ENDPOINTS if endpoint.method not in SAFE]
    assert len(unsafe) > 20
    for endpoint in unsafe:
        answer = await someone.call(endpoint)
        await problem(answer, 403, "origin_not_allowed")
    for method, path in (("DELETE", "/nothing"), ("PATCH", "/v1/jobs")):
        answer = await api.request(method, path, headers={"Origin": EVIL})
        await problem(answer, 403, "origin_not_allowed")


async def test_a_name_that_leads_here_reads_and_changes_nothing(api: Any) -> None:
    job = await submit(api)
    before = VISITORS_REFUSED.labels("host")._value.get()
    for endpoint in ENDPOINTS:
        answer = await call(api, endpoint, headers={"Host": "evil.example"})
        if endpoint.method == "HEAD":
            assert answer.status == 421
        else:
            await problem(answer, 421, "host_not_allowed")
    assert VISITORS_REFUSED.labels("host")._value.get() >= before + len(ENDPOINTS)
    for name in REBOUND:
        # Of its own origin, as far as the browser can tell.
        headers = {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
        for method, path in (
            ("GET", job["links"]["self"]),
            ("GET", "/v1/events"),
            ("DELETE", job["links"]["self"]),
            ("OPTIONS", "/v1/jobs"),
            ("GET", "/nothing"),
        ):
            answer = await api.request(method, path, headers=headers)
            await problem(answer, 421, "host_not_allowed")
    for name in OURS:
        assert (await api.get(job["links"]["self"], headers={"Host": name})).status == 200


async def test_names_and_origins_that_the_operator_trusts_are_let_in(serve: Any) -> None:
    page = "http://localhost:3000"
    api = await serve(allowed_hosts="files.internal, api", cors_origins=f"{page}, *")
    sent = form()
    for host in ("files.internal:8080", "API"):
        assert (await api.get("/v1/jobs", headers={"Host": host})).status == 200
    await problem(
        await api.get("/v1/jobs", headers={"Host": "x.files.internal"}), 421, "host_not_allowed"
    )
    headers = {**sent["headers"], "Origin": page, "Sec-Fetch-Site": "same-site"}
    assert (await api.post("/v1/jobs", data=sent["data"], headers=headers)).status == 202
    headers["Origin"] = EVIL  # `*` is not for what has no key
    answer = await api.post("/v1/jobs", data=sent["data"], headers=headers)
    await problem(answer, 403, "origin_not_allowed")


async def test_with_keys_names_and_origins_do_not_matter(serve: Any, store: Store) -> None:
    api = await serve(auth=Auth.REQUIRED)
    key = await store.keys.create("acme", Role.USER)
    headers = {**bearer(key.token), "Host": "files.example", "Origin": EVIL}
    answer = await api.put("/v1/jobs/file.probe", data=b"x", headers=headers)
    assert answer.status == 202


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"allowed_hosts": "Files.internal"}, "FILEPROC_ALLOWED_HOSTS: must be host names"),
        ({"allowed_hosts": "files:8080"}, "FILEPROC_ALLOWED_HOSTS: must be host names"),
        ({"allowed_hosts": "*"}, "FILEPROC_ALLOWED_HOSTS: must be host names"),
        ({"auth": "off", "cors_origins": "*"}, "FILEPROC_CORS_ORIGINS: * is for servers"),
    ],
)
def test_settings_that_would_let_everybody_in_are_refused(given: dict[str, str], says: str) -> None:
    try:
        load_settings(**given)
    except SettingsError as exc:
        told = str(exc)
    else:
        told = ""
    assert says in told
    assert load_settings(auth="required", cors_origins="*").cors_origins == "*"
