"""Tokens of an issuer: those it made open what is their owner's, no forged one anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from fileproc.api import jwks
from fileproc.errors import SettingsError
from fileproc.ids import new_id
from fileproc.settings import Auth, load_settings
from support.http import problem
from support.surface import bearer

if TYPE_CHECKING:
    from fileproc.store import Store

ISSUER = "https://id.example/"
AUDIENCE = "fileproc"
SECRET = "s" * 31 + "\u00e9"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
CONFIGURED = {"auth": Auth.REQUIRED, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}


def public(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else None
    made = (kind or jwt.algorithms.ECAlgorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig", **more}


def pem(key: Any) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_key().public_bytes(encoding, form)
    return encoded


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "acme", "iat": now, "exp": now + 600, **changed}
    return {name: value for name, value in told.items() if value is not ...}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def rs256(signed: bytes, key: Any = RSA) -> bytes:
    return jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(signed, key)


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.digest(secret, signed, hashlib.sha256)


def token(
    head: dict[str, Any] | str,
    body: dict[str, Any] | str,
    sign: Callable[[bytes], bytes] = rs256,
) -> str:
    """A token of these very texts, whatever they are."""
    texts = [text if isinstance(text, str) else json.dumps(text) for text in (head, body)]
    signed = ".".join(b64(text.encode()) for text in texts)
    return f"{signed}.{b64(sign(signed.encode()))}"


HEAD = {"alg": "RS256", "typ": "JWT", "kid": "one"}


def forged() -> dict[str, str]:
    """Each is nearly a token of the issuer; most are even signed with its key."""
    now = int(time.time())
    good = token(HEAD, claims())
    head, body, signature = good.split(".")
    twice = json.dumps(claims())[:-1] + ', "sub": "root"}'
    unsigned = b64(b'{"alg":"none"}')
    another = token(HEAD, claims(sub="x")).rpartition(".")[0]
    attacker = public(OTHER_RSA, "one")
    symmetric = {"kty": "oct", "k": b64(b"x" * 32), "kid": "one"}
    return {
        "alg none, no signature": f"{unsigned}.{body}.",
        "alg none, a signature": token({**HEAD, "alg": "none"}, claims()),
        "alg None": token({**HEAD, "alg": "None"}, claims(), lambda _: b"x"),
        "alg nOnE": token({**HEAD, "alg": "nOnE"}, claims(), lambda _: b"x"),
        "alg empty": token({**HEAD, "alg": ""}, claims()),
        "alg missing": token({"typ": "JWT", "kid": "one"}, claims()),
        "alg null": token({**HEAD, "alg": None}, claims()),
        "alg a list": token({**HEAD, "alg": ["RS256"]}, claims()),
        "alg lower case": token({**HEAD, "alg": "rs256"}, claims()),
        "alg RS384, rightly signed": jwt.encode(claims(), RSA, "RS384", {"kid": "one"}),
        "alg PS256, rightly signed": jwt.encode(claims(), RSA, "PS256", {"kid": "one"}),
        "alg ES256": jwt.encode(claims(), EC, "ES256", {"kid": "one"}),
        "HS256 with the public key": token({**HEAD, "alg": "HS256"}, claims(), hs256(pem(RSA))),
        "HS256 with the modulus": token(
            {**HEAD, "alg": "HS256"}, claims(), hs256(public(RSA, "one")["n"].encode())
        ),
        "HS256 with nothing": token({**HEAD, "alg": "HS256"}, claims(), hs256(b"")),
        "RS256 said, HS256 done": token(HEAD, claims(), hs256(pem(RSA))),
        "another's key": token(HEAD, claims(), lambda signed: rs256(signed, OTHER_RSA)),
        "another's key as jwk": token(
            {**HEAD, "jwk": attacker}, claims(), lambda signed: rs256(signed, OTHER_RSA)
        ),
        "another's key by jku": token(
            {**HEAD, "jku": "https://evil.example/jwks.json"},
            claims(),
            lambda signed: rs256(signed, OTHER_RSA),
        ),
        "another's key by x5u": token(
            {**HEAD, "x5u": "https://evil.example/x.pem", "x5c": [b64(b"x")]},
            claims(),
            lambda signed: rs256(signed, OTHER_RSA),
        ),
        "a symmetric jwk": token({**HEAD, "jwk": symmetric}, claims(), hs256(b"x" * 32)),
        "kid of a path": token({**HEAD, "kid": "../../../dev/null"}, claims(), hs256(b"")),
        "kid of SQL": token({**HEAD, "kid": "x' UNION SELECT 'k"}, claims(), hs256(b"k")),
        "kid of a number": token({**HEAD, "kid": 1}, claims()),
        "kid of a list": token({**HEAD, "kid": ["one"]}, claims()),
        "kid unknown": token({**HEAD, "kid": "nine"}, claims()),
        "kid of a weak key": token(
            {**HEAD, "kid": "weak"}, claims(), lambda signed: rs256(signed, WEAK)
        ),
        "kid for encryption": token(
            {**HEAD, "kid": "enc"}, claims(), lambda signed: rs256(signed, OTHER_RSA)
        ),
        "kid missing, of two": token({"alg": "RS256"}, claims()),
        "kid huge": token({**HEAD, "kid": "k" * 900}, claims()),
        "crit": token({**HEAD, "crit": ["exp"]}, claims()),
        "unencoded payload": token({**HEAD, "b64": False, "crit": ["b64"]}, claims()),
        "an id token of another type": token({**HEAD, "typ": "logout+jwt"}, claims()),
        "signature missing": f"{head}.{body}",
        "signature empty": f"{head}.{body}.",
        "signature of zeros": f"{head}.{body}.{b64(bytes(256))}",
        "signature shortened": good[:-8],
        "signature of another token": f"{another}.{signature}",
        "payload changed": f"{head}.{b64(json.dumps(claims(sub='root')).encode())}.{signature}",
        "a claim twice": token(HEAD, twice),
        "alg twice": token('{"alg":"none","alg":"RS256","kid":"one"}', claims()),
        "payload a list": token(HEAD, "[]"),
        "payload null": token(HEAD, "null"),
        "payload no JSON": token(HEAD, "{"),
        "payload NaN": token(HEAD, json.dumps(claims(exp=float("nan")))),
        "payload deep": token(HEAD, '{"a":' + "[" * 1500 + "]" * 1500 + "}"),
        "five parts": f"{good}.{signature}.{signature}",
        "expired": token(HEAD, claims(exp=now - 31)),
        "expired long ago": token(HEAD, claims(exp=1)),
        "no end": token(HEAD, claims(exp=...)),
        "end a text": token(HEAD, claims(exp=str(now + 600))),
        "end a fraction": token(HEAD, claims(exp=now + 600.5)),
        "end true": token(HEAD, claims(exp=True)),
        "end null": token(HEAD, claims(exp=None)),
        "not yet": token(HEAD, claims(nbf=now + 300)),
        "issued in future": token(HEAD, claims(iat=now + 300)),
        "issuer wrong": token(HEAD, claims(iss="https://id.example")),
        "issuer missing": token(HEAD, claims(iss=...)),
        "issuer a list": token(HEAD, claims(iss=[ISSUER])),
        "audience wrong": token(HEAD, claims(aud="fileproc2")),
        "audience missing": token(HEAD, claims(aud=...)),
        "audience empty": token(HEAD, claims(aud=[])),
        "audience a map": token(HEAD, claims(aud={"fileproc": 1})),
        "owner missing": token(HEAD, claims(sub=...)),
        "owner empty": token(HEAD, claims(sub="")),
        "owner with a colon": token(HEAD, claims(sub="acme:x")),
        "owner a number": token(HEAD, claims(sub=7)),
        "role unknown": token(HEAD, claims(fileproc_role="root")),
        "role a list": token(HEAD, claims(fileproc_role=["admin"])),
        "scopes of nothing": token(HEAD, claims(fileproc_scopes=[])),
        "scopes that are none": token(HEAD, claims(fileproc_scopes=["openid"])),
        "scopes a map": token(HEAD, claims(fileproc_scopes={})),
        "too long": token(HEAD, claims(more="x" * 4800)),
    }


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    document = {
        "keys": [
            public(RSA, "one"),
            public(OTHER_RSA, "enc", use="enc"),
            public(rsa.generate_private_key(65537, 2048), "two"),
            public(WEAK, "weak"),
            public(EC, "ec"),
            {"kty": "oct", "k": b64(b"x" * 32), "kid": "../../../dev/null"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            "nonsense",
        ]
    }
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(document))
    return path


async def test_no_forged_token_opens_anything(serve: Any, key_file: Path) -> None:
    api = await serve(**CONFIGURED, jwt_algorithm="RS256", jwt_jwks=str(key_file))
    assert (await api.get("/v1/jobs", headers=bearer(token(HEAD, claims())))).status == 200
    made = forged()
    assert len(made) > 60
    for name, text in made.items():
        answer = await api.get("/v1/jobs", headers=bearer(text))
        assert answer.status == 401, name
        document = await problem(answer, 401, "unauthorized")
        assert "not valid" in document["detail"], name  # and never why


async def test_a_token_is_its_owner_with_its_role_and_scopes(
    serve: Any, key_file: Path, store: Any
) -> None:
    api = await serve(**CONFIGURED, jwt_algorithm="RS256", jwt_jwks=str(key_file))
    job_id = new_id("job")
    now = int(time.time())
    for changed, head in (
        ({}, HEAD),
        ({"aud": ["other", AUDIENCE]}, HEAD),
        ({"exp": now - 10}, HEAD),  # within the leeway
        ({"nbf": now + 10, "iat": now + 10}, HEAD),
        ({}, {**HEAD, "typ": "at+jwt"}),
        ({}, {"alg": "RS256", "kid": "one"}),
        ({}, {**HEAD, "jku": "https://evil.example/jwks.json"}),  # is not looked at
    ):
        headers = bearer(token(head, claims(**changed)))
        answer = await api.put("/v1/jobs/file.probe", data=b"x", headers=headers)
        assert answer.status == 202, changed
        job_id = (await answer.json())["id"]
        assert (await store.jobs.get("acme", job_id)).owner == "acme"
    viewer = bearer(token(HEAD, claims(fileproc_role="viewer")))
    assert (await api.get(f"/v1/jobs/{job_id}", headers=viewer)).status == 200
    await problem(await api.delete(f"/v1/jobs/{job_id}", headers=viewer), 403, "forbidden")
    admin = bearer(token(HEAD, claims(fileproc_role="admin")))
    assert (await api.get("/v1/keys", headers=admin)).status == 200
    for scopes in (["operation:image.*"], "operation:image.* template:t"):
        bound = bearer(token(HEAD, claims(fileproc_scopes=scopes)))
        refused = await api.put("/v1/jobs/file.probe", data=b"x", headers=bound)
        await problem(refused, 403, "forbidden")
    stranger = bearer(token(HEAD, claims(sub="other")))
    await problem(await api.get(f"/v1/jobs/{job_id}", headers=stranger), 404, "not_found")


async def test_each_kind_of_algorithm_works_and_only_the_one_that_is_set(
    serve: Any, tmp_path: Path
) -> None:
    p384 = ec.generate_private_key(ec.SECP384R1())
    keys: dict[str, Any] = {"RS512": RSA, "PS256": RSA, "ES256": EC, "ES384": p384}
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public(EC, "e"), public(RSA, "r"), public(p384, "p")]}))
    ids = {"RS512": "r", "PS256": "r", "ES256": "e", "ES384": "p"}
    tokens = {
        name: jwt.encode(claims(), key, name, {"kid": ids[name]}) for name, key in keys.items()
    }
    tokens["HS256"] = jwt.encode(claims(), SECRET, "HS256")
    for configured in ("PS256", "ES256", "HS256"):
        source: dict[str, Any] = {"jwt_jwks": str(path)}
        if configured == "HS256":
            source = {"jwt_secret": SecretStr(SECRET)}
        api = await serve(**CONFIGURED, jwt_algorithm=configured, **source)
        for name, text in tokens.items():
            answer = await api.get("/v1/jobs", headers=bearer(text))
            assert answer.status == (200 if name == configured else 401), (configured, name)
        if configured == "HS256":
            wrong = jwt.encode(claims(), SECRET + "x", "HS256")
            assert (await api.get("/v1/jobs", headers=bearer(wrong))).status == 401
        if configured == "ES256":  # the signature of (0, 0)
            head, body, _ = tokens["ES256"].split(".")
            psychic = f"{head}.{body}.{b64(bytes(64))}"
            assert (await api.get("/v1/jobs", headers=bearer(psychic))).status == 401


async def test_without_an_algorithm_no_token_is_one(serve: Any) -> None:
    api = await serve(auth=Auth.REQUIRED)
    await problem(
        await api.get("/v1/jobs", headers=bearer(token(HEAD, claims()))), 401, "unauthorized"
    )


@dataclass
class Issuer:
    """A server of keys that can fail."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    status: int = 200
    body: bytes | None = None

    async def answer(self, request: web.Request) -> web.Response:
        del request
        self.asked += 1
        if self.status == 302:
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        return web.Response(status=self.status, body=body)


async def test_keys_by_url_are_asked_for_seldom_and_follow_the_issuer(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer([public(RSA, "one")])
    app = web.Application()
    app.router.add_get("/jwks.json", issuer.answer)
    server = TestServer(app)
    await server.start_server()
    try:
        address = str(server.make_url("/jwks.json"))
        api = await serve(**CONFIGURED, jwt_algorithm="RS256", jwt_jwks=address)

        async def status(kid: str, key: Any = RSA) -> int:
            text = token({**HEAD, "kid": kid}, claims(), lambda signed: rs256(signed, key))
            answer = await api.get("/v1/jobs", headers=bearer(text))
            found: int = answer.status
            return found

        assert [await status("one") for _ in range(3)] == [200] * 3
        assert issuer.asked == 1
        for number in range(20):  # made-up ids do not make us ask
            assert await status(f"k{number}") == 401
        assert issuer.asked == 1
        issuer.keys = [public(OTHER_RSA, "new")]
        monkeypatch.setattr(jwks, "PAUSE_S", 0.0)
        assert await status("new", OTHER_RSA) == 200
        assert await status("one") == 401  # taken out
        for issuer.status, issuer.body in (
            (500, None),
            (302, None),
            (200, b"{"),
            (200, b'{"keys": 1}'),
            (200, b"x" * 300_000),
        ):
            monkeypatch.setattr(jwks, "FRESH_S", 0.0)
            assert await status("new", OTHER_RSA) == 200  # what was known is good for a while
        monkeypatch.setattr(jwks, "STALE_S", 0.0)
        headers = bearer(token({**HEAD, "kid": "new"}, claims()))
        answer = await api.get("/v1/jobs", headers=headers)
        document = await problem(answer, 503, "identity_unavailable")
        assert document["retryable"]
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"JWT_ALGORITHM": "none"}, "FILEPROC_JWT_ALGORITHM"),
        ({"JWT_ALGORITHM": "RS256"}, "FILEPROC_JWT_ISSUER: must be set for tokens of RS256"),
        ({"JWT_ALGORITHM": "RS256"}, "FILEPROC_JWT_AUDIENCE: must be set"),
        ({"JWT_ALGORITHM": "ES256", "JWT_SECRET": "s" * 32}, "FILEPROC_JWT_SECRET: is not for"),
        ({"JWT_ALGORITHM": "HS256", "JWT_JWKS": "x"}, "FILEPROC_JWT_SECRET: must be set"),
        ({"JWT_ALGORITHM": "HS384", "JWT_SECRET": "s" * 47}, "at least 48 bytes"),
        ({"JWT_ISSUER": "x"}, "FILEPROC_JWT_ISSUER: means nothing without"),
    ],
)
def test_settings_that_verify_nothing_are_refused(
    given: dict[str, str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"FILEPROC_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert complaint in caught.value.detail
    assert "sss" not in caught.value.detail


async def test_an_upload_token_ends_with_the_token_it_was_made_with(
    serve: Any, store: Store, key_file: Path
) -> None:
    api = await serve(**CONFIGURED, jwt_algorithm="RS256", jwt_jwks=str(key_file))
    template = {"steps": {"hash": {"operation": "file.hash"}}}
    now = int(time.time())
    for ends, life_s in ((now + 120, 120), (now + 9_000, 600), (10**15, 600)):
        headers = bearer(token(HEAD, claims(exp=ends)))
        assert (await api.put("/v1/templates/t", json=template, headers=headers)).status == 200
        answer = await api.post("/v1/upload-tokens", json={"template": "t"}, headers=headers)
        view = await answer.json()
        left = datetime.fromisoformat(view["expires_at"]).timestamp() - now
        assert life_s - 1 <= left <= life_s + 60
        info = await store.keys.authenticate(view["token"])
        assert info is not None
        assert info.expires_at is not None
        assert abs(info.expires_at.timestamp() - now - left) < 1
