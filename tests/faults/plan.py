"""How much of each fault a form of the harness does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Counts of faults.

    Attributes:
        outstanding: jobs that clients have under way at once.
        crash_rounds: how often each crash point is met.
        lost: lost replies to pops.
        lost_others: and to each other call that changes something.
        each_s: length of each fault of the storage and of each error of the store.
        cuts: power cuts under the load of jobs.
        store_cuts, store_acks: power cuts of a store alone, and jobs it accepts before each.
        calm_kills: workers killed in a calm system, for the time of recovery.
        hogs_s: how long other processes want all cores.
        failovers: promotions of a replica that is behind.
        wiped: jobs that are accepted in a burst before everything is lost.
        backlog: jobs that wait while those of dead workers are recovered.
        patience: by so much more than promised things may take. The full form measures on a machine
            of its own; the others run beside whatever else there is, and look for what is wrong.
        hooked, hook_kills: jobs whose events go to a receiver that fails, and kills of senders.
        least_jobs: the load goes on until so many are accepted.
    """

    name: str
    outstanding: int
    crash_rounds: int
    kills: int
    pauses: int
    lost: int
    lost_others: int
    rolling_rounds: int
    each_s: float
    cuts: int
    store_cuts: int
    store_acks: int
    calm_kills: int
    hogs_s: float
    failovers: int
    wiped: int
    backlog: int
    hooked: int
    hook_kills: int
    least_jobs: int
    writes_report: bool = False
    patience: float = 5


SMOKE = Plan(
    name="smoke",
    outstanding=10,
    crash_rounds=1,
    kills=15,
    pauses=5,
    lost=10,
    lost_others=10,
    rolling_rounds=1,
    each_s=1,
    cuts=2,
    store_cuts=3,
    store_acks=1500,
    calm_kills=1,
    hogs_s=6,
    failovers=2,
    wiped=150,
    backlog=3_000,
    hooked=40,
    hook_kills=5,
    least_jobs=0,
)
FULL = Plan(
    name="full",
    outstanding=30,
    crash_rounds=11,
    kills=500,
    pauses=200,
    lost=500,
    lost_others=200,
    rolling_rounds=17,
    each_s=5,
    cuts=10,
    store_cuts=50,
    store_acks=1100,
    calm_kills=16,
    hogs_s=600,
    failovers=10,
    wiped=1_000,
    backlog=100_000,
    hooked=5_000,
    hook_kills=100,
    least_jobs=20_000,
    writes_report=True,
    patience=1,
)
SOAK = Plan(
    name="soak",
    outstanding=24,
    crash_rounds=1,
    kills=30,
    pauses=10,
    lost=20,
    lost_others=20,
    rolling_rounds=1,
    each_s=3,
    cuts=3,
    store_cuts=3,
    store_acks=1500,
    calm_kills=5,
    hogs_s=60,
    failovers=3,
    wiped=300,
    backlog=3_000,
    hooked=60,
    hook_kills=5,
    least_jobs=0,
)
