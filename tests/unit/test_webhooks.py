"""Signatures, the schedule, and what a receiver may ask for."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from fileproc.jobs import MOVES, JobState, Move
from fileproc.settings import MIB, Settings
from fileproc.store import message_id
from fileproc.webhooks import (
    JITTER,
    LAST,
    OF_MOVE,
    delay_s,
    is_secret,
    new_secret,
    retry_after_s,
    schedule,
    signed_headers,
)

BODY = json.dumps({"type": "job.succeeded", "data": {"name": "žluťoučký\u2028"}}).encode()


def now_s() -> int:
    return int(datetime.now(UTC).timestamp())


def test_the_reference_library_verifies_what_we_sign() -> None:
    for body in (BODY, b"{}", b'{"a": "' + b"x" * MIB + b'"}'):
        secret = new_secret()
        headers = signed_headers("msg_1", now_s(), body, [secret])
        assert Webhook(secret).verify(body, headers) == json.loads(body)


def test_the_vector_of_the_specification_is_ours() -> None:
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_during_a_rotation_either_secret_verifies() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers("msg_1", now_s(), BODY, [new, old])
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_what_is_forged_or_replayed_is_not_verified() -> None:
    secret = new_secret()
    good = signed_headers("msg_1", now_s(), BODY, [secret])
    old = signed_headers("msg_1", now_s() - 360, BODY, [secret])
    forgeries = [
        (BODY + b" ", good),
        (BODY, {**good, "webhook-id": "msg_2"}),
        (BODY, {**good, "webhook-timestamp": str(now_s() + 1)}),
        (BODY, {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")}),
        (BODY, {**good, "webhook-signature": "v1,"}),
        (BODY, {**good, "webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()}),
        (BODY, signed_headers("msg_1", now_s(), BODY, [new_secret()])),
        (BODY, old),
    ]
    for body, headers in forgeries:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_a_secret_has_the_form_of_the_standard() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(map(is_secret, secrets))
    for wrong in ("", "whsec_", "whsec_!!", "whsec_" + base64.b64encode(bytes(10)).decode()):
        assert not is_secret(wrong)


def test_the_waits_grow_and_last_for_days() -> None:
    waits = schedule(Settings.model_fields["webhook_schedule_s"].default)
    assert list(waits) == sorted(waits)
    assert timedelta(days=3) < timedelta(seconds=sum(waits)) < timedelta(days=4)


def test_a_wait_is_lengthened_at_random_and_never_shortened() -> None:
    rng = random.Random(1)
    waits = [delay_s((100.0,), 1, rng) for _ in range(1000)]
    assert min(waits) >= 100
    assert max(waits) <= 100 * (1 + JITTER)
    assert max(waits) - min(waits) > 100 * JITTER * 0.9
    with pytest.raises(IndexError):
        delay_s((100.0,), 2)


@pytest.mark.parametrize("wrong", ["", "0", "-5", "a", "5,,6", "nan", "inf", "1e9"])
def test_a_schedule_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        schedule(wrong)


def test_retry_after_is_seconds_or_a_date_and_a_day_at_most() -> None:
    now = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    for header, seconds in {
        "120": 120,
        " 7 ": 7,
        "Sun, 22 Nov 2026 08:01:00 GMT": 60,
        "Sunday, 22-Nov-26 08:01:00 GMT": 60,
        "Sun, 22 Nov 2026 07:00:00 GMT": 0,
        "99999999999999999999999": 86_400,
        "Sun, 22 Nov 2099 08:01:00 GMT": 86_400,
        "-5": 0,
        "1.5": 0,
        "soon": 0,
        "١٢": 0,
        "": 0,
    }.items():
        assert retry_after_s(header, now) == seconds, header
    assert retry_after_s(None) == 0


def test_each_end_of_a_job_is_an_event() -> None:
    moves = {move: kind for move, kind in OF_MOVE.items() if kind.startswith("job.")}
    targets = {kind: MOVES[Move(move)].targets for move, kind in moves.items()}
    ends = {state for kind in LAST for state in targets[kind]}
    assert ends == {state for state in JobState if state.final}
    assert all(kind == f"job.{state}" for kind in LAST for state in targets[kind])


def test_a_message_has_one_id_however_often_it_is_made() -> None:
    assert message_id("17-0.1", "wh_1") == message_id("17-0.1", "wh_1")
    ids = {message_id(f"17-0.{line}", f"wh_{hook}") for line in range(30) for hook in range(30)}
    assert len(ids) == 900
