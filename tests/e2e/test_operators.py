"""What an operator sets at a shell holds in the api, and is told back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fileproc.store import Grant
from support.commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from fileproc.settings import Settings
    from fileproc.store import Store


async def test_owners_and_lanes_are_set_shown_paused_and_resumed(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    there = {
        "FILEPROC_REDIS_URL": settings.redis_url.get_secret_value(),
        "FILEPROC_REDIS_PREFIX": settings.redis_prefix,
    }

    def ask(*arguments: str, status: int = 0) -> Any:
        done = run(*arguments, cwd=tmp_path, settings=there)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if status else done.stdout

    await store.owners.set("acme", Grant(weight=3))
    await store.upkeep.pause("heavy", "acme")
    ask("owners", "set", "acme", "--max-running", "2")  # what is not named stays
    assert (await store.owners.get("acme")).grant == Grant(weight=3, max_running=2)
    shown = json.loads(ask("owners", "show", "acme", "--json"))
    assert shown["limits"]["max_running"] == 2
    assert shown["paused_lanes"] == ["heavy"]
    ask("owners", "resume", "acme")
    assert (await store.usage.of("acme", 1)).paused_lanes == []
    ask("lanes", "pause", "heavy")
    assert (await store.upkeep.lane("heavy")).paused
    assert "is not valid" in ask("owners", "set", "a b", "--weight", "2", status=2)
