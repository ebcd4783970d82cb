"""Keys of the api: only their hashes are kept."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fileproc.errors import InvalidRequestError
from fileproc.store import Role, Store

if TYPE_CHECKING:
    from support.books import Books

SOON = timedelta(hours=1)
ADMIN = "fp_" + "a" * 12 + "_" + "s" * 43


async def test_key_says_whose_it_is_and_since_when(store: Store) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + SOON
    key = await store.keys.create("acme", Role.USER, expires_at=ends, label="x" * 300)
    info = key.info
    assert (info.owner, info.role, info.label) == ("acme", Role.USER, "x" * 200)
    assert (info.expires_at, info.revoked_at, info.live) == (ends, None, True)
    assert info.created_at is not None
    assert abs(info.created_at - datetime.now(UTC)) < SOON
    assert key.token.startswith(f"fp_{info.id}_")
    assert len(info.id) == 12
    assert await store.keys.authenticate(key.token) == info
    other = await store.keys.create("acme", Role.USER)
    assert other.token[16:] != key.token[16:]
    assert other.info.expires_at is None


async def test_only_the_hash_of_the_secret_is_kept(store: Store, books: Books) -> None:
    key = await store.keys.create("acme", Role.ADMIN, label="ci")
    secret = key.token.split("_", 2)[2]
    record = books.look().hashes[f"key:{key.info.id}"]
    assert record["hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert {**record, "hash": "", "created": ""} == {
        "own": "acme",
        "role": "admin",
        "label": "ci",
        "hash": "",
        "created": "",
    }


async def test_expired_and_revoked_keys_open_nothing(store: Store) -> None:
    past = await store.keys.create("acme", Role.USER, expires_at=datetime.now(UTC) - SOON)
    gone = await store.keys.create("acme", Role.USER)
    assert await store.keys.revoke(gone.info.id) is True
    for key in (past, gone):
        assert await store.keys.authenticate(key.token) is None
    listed = {info.id: info for info in await store.keys.list()}
    assert listed[past.info.id].live is False
    assert listed[gone.info.id].live is False
    first = listed[gone.info.id].revoked_at
    assert first is not None
    assert await store.keys.revoke(gone.info.id)  # again changes nothing
    assert {info.id: info for info in await store.keys.list()}[gone.info.id].revoked_at == first


@pytest.mark.parametrize("key_id", ["", "nonesuch0000", "a" * 13, "*", "A" * 12])
async def test_unknown_key_cannot_be_revoked(store: Store, key_id: str) -> None:
    assert await store.keys.revoke(key_id) is False


async def test_keys_are_listed_oldest_first(store: Store) -> None:
    made = [(await store.keys.create("acme", Role.USER, label=str(n))).info for n in range(3)]
    listed = await store.keys.list()
    assert sorted(listed, key=lambda info: str(info.id)) == sorted(made, key=lambda i: str(i.id))
    created = [info.created_at for info in listed if info.created_at]
    assert created == sorted(created)


async def test_first_admin_key_is_made_once(store: Store) -> None:
    assert not await store.keys.any_admin()
    await store.keys.create("acme", Role.USER)
    assert not await store.keys.any_admin()
    for _ in range(2):
        await store.keys.ensure_admin(ADMIN)
    info = await store.keys.authenticate(ADMIN)
    assert info is not None
    assert (info.id, info.owner, info.role, info.label) == (
        *("a" * 12, "admin", Role.ADMIN),
        "first admin key",
    )
    assert len(await store.keys.list()) == 2
    assert await store.keys.any_admin()
    await store.keys.revoke(info.id)
    assert not await store.keys.any_admin()
    await store.keys.ensure_admin(ADMIN)  # a revoked one stays revoked
    assert await store.keys.authenticate(ADMIN) is None


@pytest.mark.parametrize("token", ["", "fp_short_x", ADMIN + " ", "x" + ADMIN, "fp_" + "a" * 12])
async def test_token_of_another_form_is_refused(store: Store, token: str) -> None:
    with pytest.raises(InvalidRequestError):
        await store.keys.ensure_admin(token)
    assert await store.keys.authenticate(token) is None


@pytest.mark.parametrize("owner", ["", "a b", "a:b", "x" * 65, "-x", "a\n"])
async def test_owner_is_a_plain_name(store: Store, owner: str) -> None:
    with pytest.raises(InvalidRequestError):
        await store.keys.create(owner, Role.USER)
    await store.keys.create("A.b_c@d-9", Role.USER)


async def test_right_id_with_another_secret_opens_nothing(store: Store) -> None:
    key = await store.keys.create("acme", Role.USER)
    other = await store.keys.create("acme", Role.USER)
    mixed = f"fp_{key.info.id}_{other.token.split('_', 2)[2]}"
    assert await store.keys.authenticate(mixed) is None
    assert await store.keys.authenticate(f"fp_{'0' * 12}_{'x' * 43}") is None
