"""Names of journal objects, and events folded into what the store was."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from fileproc.store import Memory, Span, needed, pack, stream_id, unpack
from fileproc.store.events import Event, parse
from fileproc.store.templates import MOST_VERSIONS


def span(first: int, last: int, *, folded: bool = False) -> Span:
    return Span((first, 0), (last, 0), folded=folded)


class TestNames:
    def test_name_is_read_back(self) -> None:
        for one in (Span((17, 2), (20, 0)), Span((17, 2), (20, 1), folded=True)):
            assert Span.of(one.name) == one
        assert Span((17, 2), (20, 1)).name == "17-2_20-1"
        assert Span((17, 2), (20, 1)) == Span((17, 2), (20, 1), folded=False)
        assert Span((17, 2), (20, 1), folded=True).name == "snapshot_17-2_20-1"

    @pytest.mark.parametrize("name", ["", "x", "17-2", "17-2_20-1x", "a17-2_20-1", "17_20"])
    def test_what_is_not_ours_is_left_alone(self, name: str) -> None:
        assert Span.of(name) is None

    def test_stream_id_is_two_numbers(self) -> None:
        assert stream_id("1700-12") == (1700, 12)


class TestNeeded:
    def test_all_batches_in_order_where_there_is_no_snapshot(self) -> None:
        assert needed([span(3, 4), span(1, 2)]) == [span(1, 2), span(3, 4)]
        assert needed([]) == []

    def test_newest_snapshot_and_what_came_after_it(self) -> None:
        old, new = span(1, 4, folded=True), span(1, 8, folded=True)
        batches = [span(1, 2), span(7, 8), span(7, 9), span(9, 12)]
        assert needed([*batches, new, old]) == [new, span(7, 9), span(9, 12)]


class TestOverlappingObjects:
    """The mark of what is shipped goes back with a replica that is behind."""

    def event(self, at: int, move: str, version: int, data: str = "") -> Event:
        return Event(f"{at}-0.0", "job_1", move, "acme", version, data)

    def test_entries_are_folded_in_the_order_in_which_they_happened(self) -> None:
        submit = self.event(5, "submit", 1, TestMemory().told())
        claims = [
            self.event(at, "claim", version, f'{{"attempt":{attempt},"token":{attempt}}}')
            for at, version, attempt in ((6, 2, 1), (9, 1_000_003, 2))
        ]
        again, before = (
            span(3, 9),
            span(5, 6),
        )  # the second timeline begins with what it ships again
        assert needed([before, again]) == [again, before]
        memory = Memory()
        memory.take(again, [claims[1]])
        memory.take(before, [submit, claims[0]])
        memory.take_rest()
        job = memory.jobs["job_1"]
        assert (job.version, job.attempt) == (1_000_003, 2)

    def test_entry_that_is_in_two_objects_counts_once(self) -> None:
        told = [
            self.event(1, "submit", 1, TestMemory().told()),
            self.event(2, "claim", 2, '{"attempt":1,"token":1}'),
            self.event(3, "release", 3),
            self.event(4, "delete", 4),
        ]
        for most in (3, 4):
            memory = Memory()
            for end in range(1, most + 1):
                memory.take(span(1, end), told[:end])
            memory.take_rest()
            assert {job.attempt for job in memory.jobs.values()} == ({0} if most == 3 else set())
            assert set(memory.deleted) == (set() if most == 3 else {"job_1"})

    def test_lines_of_one_entry_keep_their_order(self) -> None:
        lines = [
            Event(f"7-0.{n}", "job_1", *rest)
            for n, rest in enumerate(
                (
                    ("submit", "acme", 1, TestMemory().told()),
                    *(("claim", "acme", v, f'{{"attempt":1,"token":{v}}}') for v in range(2, 12)),
                )
            )
        ]
        memory = Memory()
        memory.take(span(7, 7), lines)
        memory.take_rest()
        assert memory.jobs["job_1"].token == 11


class TestMemory:
    def told(self, **others: Any) -> str:
        given = {"ln": "default", "ma": 3, "rt": 1000, "sc": 5, "due": 0, "deadline": 0}
        return json.dumps({**given, "fi": "", "files": {}, "idem": "", "doc": {"a": 1}, **others})

    def folded(self, *events: tuple[str, int, str]) -> Memory:
        memory = Memory()
        for number, (move, version, data) in enumerate(events):
            memory.fold(Event(f"{number + 1}000-0.0", "job_1", move, "acme", version, data))
        return memory

    def test_submit_says_all_that_the_record_has(self) -> None:
        told = self.told(fi="f1 f2", files={"f1": {"n": "ü"}, "f2": {}}, idem="h p")
        memory = self.folded(("submit", 1, told))
        job = memory.jobs["job_1"]
        assert (job.id, job.owner, job.version, job.state) == ("job_1", "acme", 1, "queued")
        assert (job.lane, job.max_attempts, job.retention_ms, job.score) == ("default", 3, 1000, 5)
        assert (job.created, job.document, job.idempotency) == (1000, '{"a":1}', "h p")
        assert job.files == {"f1": '{"n":"ü"}', "f2": "{}"}
        assert (job.attempt, job.token, job.started, job.finished) == (0, 0, None, None)
        assert (job.over, job.expires) == (False, None)

    CLAIM = '{"attempt":1,"token":7,"worker":"w"}'

    def test_attempt_leaves_token_start_and_how_it_ended(self) -> None:
        memory = self.folded(
            ("submit", 1, self.told()),
            ("claim", 2, self.CLAIM),
            ("retry", 3, '{"code":"x"}'),
        )
        job = memory.jobs["job_1"]
        assert (job.state, job.attempt, job.token, job.started) == ("delayed", 1, 7, 2000)
        assert job.problem == '{"code":"x"}'
        for move, version, data in (("promote", 4, ""), ("claim", 5, self.CLAIM)):
            memory.fold(Event("9000-0.0", "job_1", move, "acme", version, data))
        result = '{"prefix":"attempts/job_1/7-0/"}'
        memory.fold(Event("9500-0.0", "job_1", "complete", "acme", 6, result))
        assert (job.state, job.problem, job.result) == ("succeeded", "", result)
        assert (job.prefix, job.over) == ("attempts/job_1/7-0/", True)
        assert (job.finished, job.expires) == (9500, 10500)
        assert memory.last == (9500, 0)

    @pytest.mark.parametrize(
        ("move", "state", "attempt"),
        [("release", "queued", 0), ("recover", "queued", 1), ("cancel", "canceled", 1)],
    )
    def test_only_a_hand_back_gives_the_attempt_back(
        self, move: str, state: str, attempt: int
    ) -> None:
        memory = self.folded(("submit", 1, self.told()), ("claim", 2, self.CLAIM), (move, 3, ""))
        job = memory.jobs["job_1"]
        assert (job.state, job.attempt) == (state, attempt)

    def test_failed_job_keeps_its_problem_and_an_upload_its_document(self) -> None:
        memory = self.folded(
            ("submit", 1, self.told()),
            ("uploaded", 2, '{"b":2}'),
            ("claim", 3, self.CLAIM),
            ("fail", 4, '{"code":"y"}'),
        )
        job = memory.jobs["job_1"]
        assert (job.state, job.problem, job.document) == ("failed", '{"code":"y"}', '{"b":2}')

    def test_wish_to_cancel_only_counts_the_version(self) -> None:
        memory = self.folded(
            ("submit", 1, self.told()), ("claim", 2, self.CLAIM), ("cancel_requested", 3, "")
        )
        assert (memory.jobs["job_1"].state, memory.jobs["job_1"].version) == ("running", 3)

    def test_event_that_is_known_already_changes_nothing(self) -> None:
        events = [("submit", 1, self.told()), ("claim", 2, self.CLAIM), ("retry", 3, "{}")]
        once, twice = self.folded(*events), self.folded(*events)
        for move, version, data in events:
            twice.fold(Event("1-0.0", "job_1", move, "acme", version, data))
        assert twice.jobs == once.jobs
        assert twice.last == once.last

    def test_deleted_job_is_forgotten_and_its_files_are_not(self) -> None:
        memory = self.folded(
            ("submit", 1, self.told(fi="f", files={"f": {}})), ("delete", 2, ""), ("cancel", 3, "")
        )
        assert memory.jobs == {}
        memory.fold(Event("9-0.0", "job_2", "submit", "acme", 1, self.told(fi="f")))
        assert memory.jobs["job_2"].files == {"f": "{}"}

    def test_keys_are_made_and_revoked_once(self) -> None:
        memory = Memory()
        made = '{"own":"acme","role":"user"}'
        memory.fold(Event("5000-0.0", "k", "key_created", "acme", 0, made))
        for moment in (6000, 7000):
            memory.fold(Event(f"{moment}-0.0", "k", "key_revoked", "acme", 0, "{}"))
        memory.fold(Event("8000-0.0", "unknown", "key_revoked", "-", 0, "{}"))
        expected = {"own": "acme", "role": "user", "created": "5000", "revoked": "6000"}
        assert memory.keys == {"k": expected}
        assert memory.jobs == {}

    def test_templates_have_versions_until_they_are_deleted(self) -> None:
        memory = Memory()
        for version in (1, 2, 2):
            told = Event(
                f"{version}-0.0", "t", "template_put", "acme", version, f'{{"v":{version}}}'
            )
            memory.fold(told)
        memory.fold(Event("3-0.0", "t", "template_put", "other", 1, "{}"))
        mine = {1: (1, '{"v":1}'), 2: (2, '{"v":2}')}
        assert memory.templates == {("acme", "t"): mine, ("other", "t"): {1: (3, "{}")}}
        memory.fold(Event("4-0.0", "t", "template_deleted", "acme", 0, ""))
        assert set(memory.templates) == {("other", "t")}
        assert memory.jobs == {}
        memory.forget_deleted_before(4)
        assert memory.deleted_templates == {("acme", "t"): 4}
        memory.forget_deleted_before(5)
        assert memory.deleted_templates == {}

    def test_of_a_template_the_newest_versions_are_remembered(self) -> None:
        memory = Memory()
        for version in range(1, MOST_VERSIONS + 3):
            memory.fold(Event(f"{version}-0.0", "t", "template_put", "acme", version, "{}"))
        assert sorted(memory.templates["acme", "t"]) == list(range(3, MOST_VERSIONS + 3))

    DAY = 86_400_000

    def test_what_operators_set_is_remembered_as_it_was_last(self) -> None:
        memory = Memory()
        for number, (name, move, owner, data) in enumerate(
            (
                ("acme", "owner_set", "acme", '{"weight":3}'),
                ("other", "owner_set", "other", '{"weight":2}'),
                ("other", "owner_set", "other", ""),
                ("heavy", "pause", "-", ""),
                ("default", "pause", "acme", ""),
                ("default", "resume", "acme", ""),
            )
        ):
            memory.fold(Event(f"{number + 1}-0.0", name, move, owner, 0, data))
        assert memory.accounts.owners == {"acme": (1, '{"weight":3}'), "other": (3, "")}
        assert memory.accounts.pauses == {("heavy", "-"): True, ("default", "acme"): False}
        again = Memory()
        for event in unpack(pack(memory.snapshot())):
            again.fold(event)
        assert (again.accounts.owners, again.accounts.pauses) == (
            memory.accounts.owners,
            memory.accounts.pauses,
        )

    def test_use_is_counted_by_the_day_and_once_whatever_is_told_again(self) -> None:
        files = {"f": {"size": 7}, "g": {"size": 5}}
        submitted = Event(
            f"{3 * self.DAY}-0.0",
            *("job_1", "submit", "acme", 1, self.told(fi="f g", files=files)),
        )
        claimed = Event(f"{3 * self.DAY + 1}-0.0", "job_1", "claim", "acme", 2, self.CLAIM)
        result = '{"prefix":"p","usage":{"cpu_s":1.25}}'
        done = Event(f"{4 * self.DAY}-0.0", "job_1", "complete", "acme", 3, result)
        deleted = Event(f"{4 * self.DAY}-1.0", "job_1", "delete", "acme", 4, "")
        memory = Memory()
        for event in (submitted, submitted, claimed, done, done, deleted):
            memory.fold(event)
        expected = {("acme", 3): {"jobs": 1, "bytes": 12}, ("acme", 4): {"cpu": 1250}}
        assert memory.accounts.usage == expected
        again = Memory()
        for event in unpack(pack(memory.snapshot())):
            again.fold(event)
        assert again.accounts.usage == expected
        for event in (submitted, claimed, done, deleted):
            again.fold(event)  # a batch that overlaps the snapshot
        assert again.accounts.usage == expected
        again.accounts.forget_usage_before(4 * self.DAY + 5)
        assert set(again.accounts.usage) == {("acme", 4)}

    def test_jobs_that_ended_long_ago_are_forgotten(self) -> None:
        memory = self.folded(("submit", 1, self.told()), ("cancel", 2, ""))
        memory.fold(Event("3000-0.0", "job_2", "submit", "acme", 1, self.told()))
        assert memory.forget_ended_before(2000) == 0
        assert memory.forget_ended_before(2001) == 1
        assert set(memory.jobs) == {"job_2"}

    def test_jobs_and_links_whose_time_is_over_are_forgotten(self) -> None:
        memory = self.folded(("submit", 1, self.told()), ("cancel", 2, ""))
        link = '{"own":"acme","ends":"2500","n":"0"}'
        memory.fold(Event("2400-0.0", "code", "link_made", "acme", 0, link))
        batch = '{"n":1,"doc":{},"rt":1000,"ca":1,"idem":""}'
        memory.fold(Event("1900-0.0", "batch_1", "batch_created", "acme", 1, batch))
        memory.fold(Event("2000-1.0", "batch_1", "batch_completed", "acme", 2, ""))
        assert memory.forget_lapsed(2_999) == 0  # it ended at 2,000 and is kept for a second
        assert set(memory.batches.known) == {"batch_1"}
        assert memory.forget_lapsed(3_000) == 1
        assert (memory.jobs, memory.batches.known) == ({}, {})
        a_week = 7 * 86_400_000
        memory.forget_lapsed(2_499 + a_week)  # until then it is one that has ended, not none
        assert set(memory.links.known) == {"code"}
        memory.forget_lapsed(2_500 + a_week)
        assert memory.links.known == {}

    def test_snapshot_folds_to_the_same(self) -> None:
        memory = self.folded(
            ("submit", 1, self.told(fi="f", files={"f": {"name": "ü\u2028"}})),
            ("claim", 2, self.CLAIM),
        )
        memory.fold(Event("4000-0.0", "t", "template_put", "acme", 2, '{"a":"ü\u2028"}'))
        memory.fold(Event("5000-3.0", "k", "key_created", "acme", 0, '{"own":"acme"}'))
        again = Memory()
        for event in unpack(pack(memory.snapshot())):
            again.fold(event)
        assert (again.jobs, again.keys, again.files) == (memory.jobs, memory.keys, memory.files)
        assert again.templates == memory.templates != {}
        assert again.last == memory.last == (5000, 3)
        assert Memory().last == (0, 0)

    def test_snapshot_is_written_as_people_read_it(self) -> None:
        memory = self.folded(("submit", 1, self.told(doc={"name": "ü"})))
        *_, (entry, line) = memory.snapshot()
        assert entry == "1000-0"
        assert "ü" in line


def test_entry_is_read_line_by_line() -> None:
    events = parse("17-1", 'job_1 submit acme 1 {"a": "b c"}\njob_2 cancel acme 4 ')
    assert [(e.id, e.job_id, e.move, e.owner, e.version, e.data) for e in events] == [
        ("17-1.0", "job_1", "submit", "acme", 1, '{"a": "b c"}'),
        ("17-1.1", "job_2", "cancel", "acme", 4, ""),
    ]


def test_packed_entries_come_back_and_are_the_same_bytes_each_time() -> None:
    entries = [("1-0", "job_1 cancel acme 1 ü"), ("2-0", "job_2 cancel acme 1 \njob_3 expire o 2 ")]
    assert [event.job_id for event in unpack(pack(entries))] == ["job_1", "job_2", "job_3"]
    assert pack(entries) == pack(entries)
    assert list(unpack(pack([]))) == []
    assert "ü".encode() in gzip.decompress(pack(entries))
    assert pack(entries)[4:8] == bytes(4)  # no moment: the same entries are the same object
