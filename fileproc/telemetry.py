"""The log's format, and every Prometheus instrument, in one list.

Labels are bounded: routes are templates, operations and states come from our own tables; no id,
no name of a client's ever becomes a label.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge, Histogram, Info

_REQUEST_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 10, 60, 300)
_WORK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_SIZE_BUCKETS = tuple(1024 * 8**power for power in range(10))

_OF_LINES: Final = frozenset({"exception", "stack"})

BUILD = Info("fileproc_build", "Version that is running")

# --- api ---------------------------------------------------------------------------------------
REQUESTS = Histogram(
    "fileproc_http_request_duration_seconds",
    "Time to answer, by route template",
    ("method", "route", "status"),
    buckets=_REQUEST_BUCKETS,
)
REQUESTS_OPEN = Gauge("fileproc_http_requests_open", "Requests being answered")
SUBMITTED = Counter("fileproc_jobs_submitted_total", "Jobs accepted (202)", ("operation",))
REFUSED = Counter("fileproc_jobs_refused_total", "Submissions refused, by error code", ("code",))
REUSED = Counter("fileproc_jobs_reused_total", "Jobs answered by an earlier one", ("outcome",))
UPLOADED = Counter("fileproc_uploaded_bytes_total", "Bytes received as files")
STREAMS_OPEN = Gauge("fileproc_event_streams_open", "Event streams that are open")
VISITORS_REFUSED = Counter(
    "fileproc_visitors_refused_total",
    "Requests refused where no key is asked for: of another host name, of a page elsewhere",
    ("why",),
)
STREAMS_ENDED = Counter("fileproc_event_streams_ended_total", "Streams ended, by why", ("reason",))
SCHEDULES_FIRED = Counter(
    "fileproc_schedule_firings_total", "Firings of schedules that ended, by outcome", ("outcome",)
)
SCHEDULES_LATE = Histogram(
    "fileproc_schedule_late_seconds",
    "By how much schedules were fired after they were due",
    buckets=_WORK_BUCKETS,
)
LIMITS_HIT = Counter("fileproc_limits_hit_total", "How often a limit was hit", ("limit",))
RATES_UNCHECKED = Counter(
    "fileproc_rates_unchecked_total", "Requests let through because Redis did not say their rate"
)

# --- worker ------------------------------------------------------------------------------------
SLOTS = Gauge("fileproc_worker_slots", "Slots of this worker", ("lane",))
RUNNING = Gauge("fileproc_worker_jobs_running", "Jobs in a slot", ("lane",))
ATTEMPTS = Counter(
    "fileproc_job_attempts_total",
    "Attempts ended, by how",
    ("operation", "outcome"),
)
ATTEMPT_SECONDS = Histogram(
    "fileproc_job_attempt_duration_seconds",
    "Time of an attempt, by phase",
    ("operation", "phase"),
    buckets=_WORK_BUCKETS,
)
PICKUP_SECONDS = Histogram(
    "fileproc_job_wait_seconds", "Time from accept to claim", ("lane",), buckets=_WORK_BUCKETS
)
FETCHED = Counter("fileproc_fetched_bytes_total", "Bytes of inputs fetched from URLs")
KEPT = Counter("fileproc_kept_bytes_total", "Bytes of finished steps kept of failed jobs")
DELIVERED = Counter("fileproc_delivered_bytes_total", "Bytes of outputs sent to clients' places")
TARGETS = Counter(
    "fileproc_outputs_sent_total", "Clients' places to which outputs were sent, by how", ("state",)
)
LEASES_LOST = Counter("fileproc_leases_lost_total", "Attempts refused: the lease was taken away")
ZYGOTE_STARTS = Counter("fileproc_zygote_starts_total", "Times the template process was started")
RECOVERED = Counter("fileproc_jobs_recovered_total", "Jobs taken from silent workers")
ADOPTED = Counter("fileproc_jobs_adopted_total", "Jobs popped by a worker that never claimed them")
PURGED = Counter("fileproc_jobs_purged_total", "Jobs deleted at the end of their retention")
SWEPT = Counter("fileproc_objects_swept_total", "Objects collected", ("kind",))
JOURNAL_SHIPPED = Counter("fileproc_journal_entries_total", "Event entries stored in the journal")
JOURNAL_LAG = Gauge(
    "fileproc_journal_lag_seconds", "Age of the oldest event that is not in object storage"
)
DELIVERIES = Counter(
    "fileproc_webhook_deliveries_total", "Deliveries to webhooks, by outcome", ("outcome",)
)
DELIVERY_SECONDS = Histogram(
    "fileproc_webhook_attempt_duration_seconds",
    "Time of an attempt, by what came of it",
    ("answer",),
    buckets=_REQUEST_BUCKETS,
)
WEBHOOKS_DISABLED = Counter("fileproc_webhooks_disabled_total", "Webhooks disabled by failing")
WEBHOOK_LAG = Gauge(
    "fileproc_webhook_lag_seconds", "Age of the oldest event not yet made into deliveries"
)
WEBHOOK_OVERDUE = Gauge("fileproc_webhook_overdue_seconds", "By how much deliveries are late")

# --- both --------------------------------------------------------------------------------------
QUEUE_JOBS = Gauge(
    "fileproc_queue_jobs",
    "Jobs by where they stand: ready (next to be taken), waiting (behind those); in all lanes"
    " running, delayed, finished; trash is what the storage is to be rid of",
    ("lane", "place"),
)
LANE_PAUSED = Gauge("fileproc_lane_paused", "1: nothing is taken from the lane", ("lane",))
EVENT_BACKLOG = Gauge("fileproc_event_stream_entries", "Entries in the event stream")
OUTBOUND_REFUSED = Counter(
    "fileproc_outbound_refused_total",
    "Addresses that clients' URLs led to and that were refused, by where it was seen",
    ("where",),
)
STORE_ERRORS = Counter("fileproc_store_errors_total", "Calls to Redis that failed", ("kind",))
STORAGE_ERRORS = Counter("fileproc_storage_errors_total", "Calls to storage that failed", ("call",))
DURABLE = Gauge(
    "fileproc_store_durable", "1 if Redis keeps what was acknowledged (appendfsync always)"
)

IN_USE = Gauge(
    "fileproc_store_in_use", "0 if Redis is new, or has lost everything and is not yet built again"
)
IN_USE.set(math.nan)  # until somebody has looked: not known is no alarm


def configure_logging(level: str, log_format: str) -> None:
    """Send structlog and the standard library's records to standard error in one format."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    final: list[Any] = (
        [_printable, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("botocore", "aiobotocore", "aioboto3", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _printable(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Any:
    """What clients have written breaks no line and moves no cursor; JSON escapes by itself."""
    for name, value in entry.items():
        if isinstance(value, str) and not value.isprintable() and name not in _OF_LINES:
            entry[name] = "".join(
                char if char.isprintable() else char.encode("unicode_escape").decode()
                for char in value
            )
    return entry


def get_logger(name: str) -> Any:
    """A structlog logger; events are short sentences, facts go into keywords."""
    return structlog.stdlib.get_logger(name)


def show_queue(stats: dict[str, dict[str, int]]) -> None:
    """Set the figures of the queue, as `Store.queue_stats` tells them."""
    for lane, figures in stats.items():
        for name, figure in figures.items():
            if name == "paused":
                LANE_PAUSED.labels(lane).set(figure)
            elif name == "events":
                EVENT_BACKLOG.set(figure)
            else:
                QUEUE_JOBS.labels(lane, name).set(figure)
