from __future__ import annotations

import pytest

from fileproc.ids import new_id
from fileproc.objects import attempt_prefix, file_key, job_prefix
from fileproc.objects.keys import checked_key, checked_prefix


def test_keys_are_built_in_one_place() -> None:
    job_id = new_id("job")
    assert file_key("file_1") == "files/file_1"
    assert job_prefix(job_id) == f"attempts/{job_id}/"
    prefix = attempt_prefix(job_id, 7)
    assert prefix.startswith(f"attempts/{job_id}/7-")
    assert checked_key(prefix + "0") == prefix + "0"
    assert attempt_prefix(job_id, 7) != prefix


@pytest.mark.parametrize(
    "key",
    [
        "",
        "files",
        "files/",
        "files/../secrets",
        "files/..",
        "files//a",
        "files/a/",
        "files/a.txt",
        "files/ä",
        "files/a\n",
        "other/a",
        "/files/a",
        "files/%2e%2e",
        "files/" + "a" * 129,
    ],
)
def test_a_key_that_is_not_ours_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        checked_key(key)


@pytest.mark.parametrize("prefix", ["", "f", "files", "/", "files/../", "other/", "files//"])
def test_a_prefix_that_is_not_ours_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="not a prefix"):
        checked_prefix(prefix)


@pytest.mark.parametrize("prefix", ["files/", "attempts/job_1/", "files/file_01k", "journal/"])
def test_a_prefix_of_ours_passes(prefix: str) -> None:
    assert checked_prefix(prefix) == prefix
