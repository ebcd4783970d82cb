"""Keys of the api: only their hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from fileproc.errors import BadRequestError, InvalidRequestError, QuotaError, WrongStateError
from fileproc.store import Memory, Role, Store, apikeys, open_store, pack, unpack
from fileproc.store.apikeys import MOST_OLD_SECRETS, REMEMBERED_S
from fileproc.store.events import parse
from support.waiting import eventually

if TYPE_CHECKING:
    from fileproc.settings import Settings
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


async def test_key_that_was_seen_before_ends_at_once_like_any_other(
    store: Store, settings: Settings, books: Books
) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    keys = [
        await store.keys.create("acme", Role.USER, expires_at=soon),
        *[await store.keys.create("acme", Role.ADMIN) for _ in range(4)],
    ]
    for _ in range(2):  # the second time it is known
        for key in keys:
            found = await store.keys.authenticate(key.token)
            assert found == key.info
            assert found is not None
            assert found.valid_until == key.info.expires_at
    _, revoked, rotated, changed, forgotten = keys
    async with open_store(settings) as elsewhere:
        await elsewhere.keys.revoke(revoked.info.id)
        await elsewhere.keys.rotate(rotated.info.id, overlap_s=0)
    books.redis.hset(books.key(f"key:{changed.info.id}"), "role", "viewer")
    books.redis.delete(books.key(f"key:{forgotten.info.id}"))
    for key in (revoked, rotated, forgotten):
        assert await store.keys.authenticate(key.token) is None
    found = await store.keys.authenticate(changed.token)
    assert found is not None
    assert found.role is Role.VIEWER
    wrong = changed.token[:-1] + ("a" if changed.token[-1] != "a" else "b")
    assert await store.keys.authenticate(wrong) is None

    async def expired() -> bool:
        return await store.keys.authenticate(keys[0].token) is None

    await eventually(expired)
    books.redis.zrem(books.key("keys"), forgotten.info.id)


async def test_only_so_many_keys_are_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apikeys, "MOST_KNOWN", 2)
    for _ in range(4):
        key = await store.keys.create("acme", Role.USER)
        assert await store.keys.authenticate(key.token) == key.info
    assert len(store.keys._known) == 2
    assert key.token.split("_", 2)[2] not in str(store.keys._known)


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


# --- rotation ----------------------------------------------------------------------------------


async def test_old_and_new_secret_live_together_until_the_overlap_is_over(
    store: Store, books: Books
) -> None:
    first = await store.keys.create("acme", Role.USER, scopes=["template:thumbs"])
    second = await store.keys.rotate(first.info.id, overlap_s=3600)
    assert second is not None
    assert second.token != first.token
    assert second.info.id == first.info.id
    assert second.info.scopes == ("template:thumbs",)
    assert second.info.old_until is not None
    for key, ends in ((first, second.info.old_until), (second, None)):
        found = await store.keys.authenticate(key.token)
        assert found == second.info
        assert found is not None
        assert found.valid_until == ends
    ended = int((datetime.now(UTC) - timedelta(seconds=1)).timestamp() * 1000)
    record = books.key(f"key:{first.info.id}")
    old = books.redis.hget(record, "old")
    books.redis.hset(record, "old", f"{old.partition(':')[0]}:{ended}")
    assert await store.keys.authenticate(first.token) is None
    found = await store.keys.authenticate(second.token)
    assert found is not None
    assert found.old_until is None


async def test_a_rotation_without_overlap_ends_every_older_secret(store: Store) -> None:
    first = await store.keys.create("acme", Role.USER)
    second = await store.keys.rotate(first.info.id, overlap_s=60)
    third = await store.keys.rotate(first.info.id, overlap_s=0)
    assert second is not None
    assert third is not None
    assert await store.keys.authenticate(first.token) is None
    assert await store.keys.authenticate(second.token) is None
    assert await store.keys.authenticate(third.token) == third.info


async def test_only_so_many_old_secrets_live_and_none_is_pushed_out(store: Store) -> None:
    first = await store.keys.create("acme", Role.USER)
    for _ in range(MOST_OLD_SECRETS):
        assert await store.keys.rotate(first.info.id, overlap_s=60)
    with pytest.raises(QuotaError, match="overlap_s 0"):
        await store.keys.rotate(first.info.id, overlap_s=60)
    assert await store.keys.authenticate(first.token) is not None


async def test_rotation_can_move_the_end_and_revives_nothing(store: Store) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + SOON
    key = await store.keys.create("acme", Role.USER, expires_at=ends)
    again = await store.keys.rotate(key.info.id, overlap_s=60)
    assert again is not None
    assert again.info.expires_at == ends
    later = await store.keys.rotate(key.info.id, overlap_s=60, expires_at=ends + SOON)
    assert later is not None
    assert later.info.expires_at == ends + SOON
    await store.keys.revoke(key.info.id)
    past = await store.keys.create("acme", Role.USER, expires_at=datetime.now(UTC) - SOON)
    for over in (key, past):
        with pytest.raises(WrongStateError):
            await store.keys.rotate(over.info.id, overlap_s=60, expires_at=ends)
    assert await store.keys.rotate("nonesuch0000", overlap_s=60) is None
    assert await store.keys.rotate("*", overlap_s=60) is None


async def test_revoking_ends_every_secret(store: Store) -> None:
    first = await store.keys.create("acme", Role.USER)
    second = await store.keys.rotate(first.info.id, overlap_s=60)
    await store.keys.revoke(first.info.id)
    assert second is not None
    assert await store.keys.authenticate(first.token) is None
    assert await store.keys.authenticate(second.token) is None


# --- the end of a record, and the list ---------------------------------------------------------


async def test_a_key_that_is_over_is_remembered_for_a_while(store: Store, books: Books) -> None:
    lasting = await store.keys.create("acme", Role.USER)
    ending = await store.keys.create("acme", Role.USER, expires_at=datetime.now(UTC) + SOON)
    gone = await store.keys.create("acme", Role.USER)
    await store.keys.revoke(gone.info.id)
    await store.keys.ensure_admin(ADMIN)
    await store.keys.revoke("a" * 12)  # forgotten, it would be made again by the next start
    life = {
        key_id: books.redis.ttl(books.key(f"key:{key_id}"))
        for key_id in (lasting.info.id, ending.info.id, gone.info.id, "a" * 12)
    }
    assert life[lasting.info.id] == life["a" * 12] == -1
    assert abs(life[ending.info.id] - REMEMBERED_S - SOON.total_seconds()) < 60
    assert abs(life[gone.info.id] - REMEMBERED_S) < 60
    books.redis.delete(books.key(f"key:{gone.info.id}"))  # its time has come
    assert gone.info.id not in [info.id for info in await store.keys.list()]
    assert gone.info.id not in books.zset("keys")


async def test_pages_show_every_key_once_and_by_owner(store: Store) -> None:
    made = {(await store.keys.create(f"o{n % 2}", Role.USER)).info.id for n in range(7)}
    for owner, expected in ((None, 7), ("o0", 4), ("o1", 3), ("none", 0)):
        seen: list[str] = []
        cursor = None
        while True:
            page = await store.keys.page(owner=owner, cursor=cursor, limit=2)
            assert len(page.keys) <= 2
            seen += [info.id for info in page.keys]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == expected
        assert set(seen) <= made
    for wrong in ("x", "0" * 12, "", "a b", "*"):
        with pytest.raises(BadRequestError):
            await store.keys.page(cursor=wrong)


@pytest.mark.parametrize(
    "scope",
    ["", "x", "operation:", "operation:*", "operation:a.b.c", "template:", "template:A", "*"],
)
async def test_what_is_no_scope_is_refused(store: Store, scope: str) -> None:
    with pytest.raises(InvalidRequestError):
        await store.keys.create("acme", Role.USER, scopes=["operation:image.resize", scope])


async def test_scopes_are_kept_in_order_and_once(store: Store) -> None:
    given = ["template:thumbs", "operation:image.*", "template:thumbs"]
    key = await store.keys.create("acme", Role.USER, scopes=given)
    assert key.info.scopes == ("operation:image.*", "template:thumbs")
    found = await store.keys.authenticate(key.token)
    assert found == key.info


async def test_every_comparison_takes_the_same_time_whatever_is_wrong(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known id or not, the secret is compared, by what does not stop at the first difference."""
    key = await store.keys.create("acme", Role.USER)
    compared: list[tuple[bytes, bytes]] = []
    honest = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return honest(one, other)

    monkeypatch.setattr("fileproc.store.apikeys.hmac.compare_digest", watched)
    for token in (
        key.token,
        f"fp_{key.info.id}_{'x' * 43}",
        f"fp_{'0' * 12}_{'x' * 43}",
        f"fp_{'0' * 12}_{key.token.split('_', 2)[2]}",
    ):
        compared.clear()
        await store.keys.authenticate(token)
        assert len(compared) == 1
        assert len(compared[0][1]) == 64


async def test_changes_of_keys_survive_the_loss_of_redis(store: Store, books: Books) -> None:
    """What the journal says of a key is all that there is to know."""
    first = await store.keys.create("acme", Role.VIEWER, label="ä b", scopes=["template:t"])
    ends = datetime.now(UTC).replace(microsecond=0) + SOON
    second = await store.keys.rotate(first.info.id, overlap_s=600, expires_at=ends)
    gone = await store.keys.create("acme", Role.USER)
    await store.keys.revoke(gone.info.id)
    assert second is not None
    memory = Memory()
    for entry, lines in await store.journal.unshipped():
        for event in parse(entry, lines):
            memory.fold(event)
    again = Memory()
    for event in unpack(pack(memory.snapshot())):
        again.fold(event)
    assert again.keys == memory.keys
    before = books.look().hashes
    listed = books.zset("keys")
    books.wipe()
    for key_id, fields in again.keys.items():
        await store.journal.restore_key(key_id, fields)
    for key_id in again.keys:
        assert books.look().hashes[f"key:{key_id}"] == before[f"key:{key_id}"]
        assert books.redis.ttl(books.key(f"key:{key_id}")) > 0
    assert books.zset("keys") == listed
    for key in (first, second):
        assert await store.keys.authenticate(key.token) == second.info
    assert await store.keys.authenticate(gone.token) is None


async def test_a_rebuild_takes_back_no_change_that_came_later(store: Store, books: Books) -> None:
    key = await store.keys.create("acme", Role.USER)
    old = dict(books.look().hashes[f"key:{key.info.id}"])
    new = await store.keys.rotate(key.info.id, overlap_s=0)
    await store.journal.restore_key(key.info.id, old)
    assert new is not None
    assert await store.keys.authenticate(key.token) is None
    assert await store.keys.authenticate(new.token) == new.info
    later = dict(books.look().hashes[f"key:{key.info.id}"])
    books.redis.delete(books.key(f"key:{key.info.id}"))
    await store.journal.restore_key(key.info.id, old)  # a replica was promoted, then the journal
    await store.journal.restore_key(key.info.id, later)
    assert await store.keys.authenticate(key.token) is None
    assert await store.keys.authenticate(new.token) == new.info


def test_a_key_that_was_over_long_ago_is_forgotten_by_the_journal() -> None:
    memory = Memory()
    ended = {"own": "a", "role": "user", "expires": "1000"}
    memory.keys = {
        "past": ended,
        "lasting": {"own": "a", "role": "user"},
        "first": {**ended, "file": "1"},
    }
    memory.forget_keys_ended_before(1000 + REMEMBERED_S * 1000)
    assert "past" in memory.keys
    memory.forget_keys_ended_before(1001 + REMEMBERED_S * 1000)
    assert set(memory.keys) == {"lasting", "first"}
