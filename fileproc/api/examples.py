"""Bodies that the documentation shows."""

from __future__ import annotations

from typing import Any, Final

from fileproc.api.fields import BATCH_ID, FILE_ID, JOB_ID, UPLOAD_ID
from fileproc.api.webhook_models import DELIVERY_ID, WEBHOOK_ID

JOB: Final[dict[str, Any]] = {
    "id": JOB_ID,
    "object": "job",
    "version": 3,
    "state": "succeeded",
    "queue_position": None,
    "eta_s": None,
    "cancel_requested": False,
    "lane": "default",
    "priority": "normal",
    "operation": "image.resize",
    "params": {"width": 800, "format": "webp"},
    "steps": [],
    "template": None,
    "created_at": "2026-11-22T08:15:30.120000Z",
    "started_at": "2026-11-22T08:15:30.124000Z",
    "finished_at": "2026-11-22T08:15:30.161000Z",
    "run_at": None,
    "start_before": None,
    "retry_at": None,
    "expires_at": "2026-11-23T08:15:30.161000Z",
    "progress": None,
    "attempt": 1,
    "max_attempts": 3,
    "timeout_s": None,
    "retry_of": None,
    "retried_as": None,
    "kept": None,
    "batch": None,
    "webhook": None,
    "labels": {"album": "summer"},
    "metadata": {},
    "inputs": [
        {
            "file_id": FILE_ID,
            "url": None,
            "name": "photo.jpg",
            "size": 1016315,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "type": "image/jpeg",
            "declared_type": None,
        }
    ],
    "deliveries": [],
    "outputs": [
        {
            "name": "photo.webp",
            "size": 48213,
            "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            "type": "image/webp",
        }
    ],
    "error": None,
    "usage": {"wall_s": 0.03, "cpu_s": 0.03, "peak_rss_bytes": 71303168},
    "provenance": {"engine": "libvips 8.18", "fileproc": "0.1.0", "cached": False},
    "links": {
        "self": f"/v1/jobs/{JOB_ID}",
        "events": f"/v1/jobs/{JOB_ID}/events",
        "result": f"/v1/jobs/{JOB_ID}/result",
        "archive": f"/v1/jobs/{JOB_ID}/archive",
    },
}

FILE: Final[dict[str, Any]] = {
    "id": FILE_ID,
    "object": "file",
    "name": "photo.jpg",
    "size": 1016315,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "type": "image/jpeg",
    "declared_type": None,
    "created_at": "2026-11-22T08:15:30.120000Z",
    "expires_at": "2026-11-23T08:15:30.120000Z",
    "jobs": 0,
    "links": {"self": f"/v1/files/{FILE_ID}", "content": f"/v1/files/{FILE_ID}/content"},
}

UPLOAD: Final[dict[str, Any]] = {
    "id": UPLOAD_ID,
    "object": "upload",
    "state": "open",
    "name": "photo.jpg",
    "size": 1016315,
    "type": "image/jpeg",
    "sha256": None,
    "offset": None,
    "created_at": "2026-11-22T08:15:30.120000Z",
    "expires_at": "2026-11-23T08:15:30.120000Z",
    "file_id": None,
    "put": {
        "method": "PUT",
        "url": f"https://s3.example.org/fileproc/files/{FILE_ID}?X-Amz-Signature=...",
        "headers": {"Content-Length": "1016315", "Content-Type": "image/jpeg"},
    },
    "part_bytes": None,
    "parts": [],
    "next_part": None,
    "links": {
        "self": f"/v1/uploads/{UPLOAD_ID}",
        "complete": f"/v1/uploads/{UPLOAD_ID}/complete",
    },
}

ACCEPTED: Final[dict[str, Any]] = {
    **JOB,
    "version": 1,
    "state": "queued",
    "started_at": None,
    "finished_at": None,
    "expires_at": None,
    "attempt": 0,
    "outputs": [],
    "usage": None,
    "provenance": None,
    "links": {
        "self": f"/v1/jobs/{JOB_ID}",
        "events": f"/v1/jobs/{JOB_ID}/events",
        "cancel": f"/v1/jobs/{JOB_ID}/cancel",
    },
}

CANCELED: Final[dict[str, Any]] = {
    **JOB,
    "version": 2,
    "state": "canceled",
    "started_at": None,
    "attempt": 0,
    "outputs": [],
    "usage": None,
    "provenance": None,
    "links": {
        "self": f"/v1/jobs/{JOB_ID}",
        "events": f"/v1/jobs/{JOB_ID}/events",
        "retry": f"/v1/jobs/{JOB_ID}/retry",
    },
}

_MOVE_AT = "1795335330124-0.2"

JOB_EVENTS: Final = f"""\
retry: 3000
id: 1795335330120-0.0
event: job
data: {{"id": "{JOB_ID}", "state": "queued", ...}}

id: {_MOVE_AT}
event: move
data: {{"object": "move", "job_id": "{JOB_ID}", "move": "claim",
data: "state": "running", "version": 2, "at": "2026-11-22T08:15:30.124000Z", "error_code": null}}

event: progress
data: {{"object": "progress", "job_id": "{JOB_ID}", "version": 3,
data: "progress": {{"phase": "render", "done": 12.0, "total": 40.0,
data:  "unit": "pages", "percent": 30.0}}, "steps": null}}
"""

OWNER_EVENTS: Final = f"""\
retry: 3000
id: 1795335330120-0.0
event: owner
data: {{"object": "owner", "jobs": {{"queued": 1, "running": 0, "succeeded": 41, ...}}}}

id: {_MOVE_AT}
event: move
data: {{"object": "move", "job_id": "{JOB_ID}", "move": "claim",
data: "state": "running", "version": 2, "at": "2026-11-22T08:15:30.124000Z", "error_code": null}}
"""

BATCH_EVENTS: Final = f"""\
retry: 3000
id: 1795335330120-0.0
event: batch
data: {{"id": "{BATCH_ID}", "state": "running", ...}}

id: {_MOVE_AT}
event: move
data: {{"object": "move", "job_id": "{JOB_ID}", "move": "claim",
data: "state": "running", "version": 2, "at": "2026-11-22T08:15:30.124000Z", "error_code": null}}

event: progress
data: {{"object": "progress", "batch_id": "{BATCH_ID}",
data: "counts": {{"queued": 80, "running": 4, "succeeded": 165, ...}},
data: "progress": {{"done": 166, "total": 250, "unit": "jobs", "percent": 66.4}}}}
"""

BATCH: Final[dict[str, Any]] = {
    "id": BATCH_ID,
    "object": "batch",
    "state": "running",
    "name": "holiday pictures",
    "labels": {"album": "summer"},
    "metadata": {},
    "webhook": None,
    "schedule": None,
    "total": 250,
    "counts": {
        "awaiting_upload": 0,
        "queued": 80,
        "delayed": 0,
        "running": 4,
        "succeeded": 165,
        "failed": 1,
        "canceled": 0,
        "expired": 0,
    },
    "progress": {"done": 166, "total": 250, "unit": "jobs", "percent": 66.4},
    "created_at": "2026-11-22T08:15:30.120000Z",
    "finished_at": None,
    "expires_at": None,
    "links": {
        "self": f"/v1/batches/{BATCH_ID}",
        "jobs": f"/v1/jobs?batch={BATCH_ID}",
        "events": f"/v1/batches/{BATCH_ID}/events",
        "cancel": f"/v1/batches/{BATCH_ID}/cancel",
    },
}

RETRIED: Final[dict[str, Any]] = {
    "retried": [{"job_id": JOB_ID, "retried_as": "job_01kqb4h0nme8atrb9rgb0yvm3n"}],
    "skipped": [],
    "stopped": None,
    "next_cursor": None,
}

TEMPLATE: Final[dict[str, Any]] = {
    "name": "thumbs",
    "object": "template",
    "version": 3,
    "created_at": "2026-11-22T08:15:30.120000Z",
    "description": "A ZIP of small pictures",
    "variables": {"width": {"type": "integer", "default": 200, "description": "Pixels."}},
    "steps": {
        "small": {
            "operation": "image.resize",
            "params": {"width": {"$var": "width"}},
            "needs": None,
            "for_each": True,
            "on_error": "fail",
            "output": False,
        },
        "zip": {
            "operation": "archive.create",
            "params": {},
            "needs": ["small"],
            "for_each": False,
            "on_error": "fail",
            "output": False,
        },
    },
}

UPLOAD_GRANT: Final[dict[str, Any]] = {
    "object": "upload_token",
    "token": "fp_4w8n2p6s0z3x_SECRET",
    "template": "thumbs@3",
    "max_bytes": 10485760,
    "expires_at": "2026-11-22T08:25:30.120000Z",
}

KEY: Final[dict[str, Any]] = {
    "id": "7k2m9q4x0c1v",
    "object": "key",
    "owner": "acme",
    "role": "user",
    "label": "web shop",
    "scopes": ["operation:image.*"],
    "reuse": False,
    "state": "live",
    "created_at": "2026-11-22T08:15:30.120000Z",
    "expires_at": "2027-02-20T08:15:30.120000Z",
    "revoked_at": None,
    "rotated_at": None,
    "old_secrets_until": None,
}

NEW_KEY: Final[dict[str, Any]] = {**KEY, "token": "fp_7k2m9q4x0c1v_SECRET"}

LINK: Final[dict[str, Any]] = {
    "code": "7Kp2vXqWn9LrTgYd4MbHsc",
    "object": "link",
    "state": "live",
    "path": "/d/7Kp2vXqWn9LrTgYd4MbHsc",
    "job_id": JOB_ID,
    "index": 0,
    "name": "photo.webp",
    "has_password": True,
    "max_downloads": 3,
    "downloads": 1,
    "created_at": "2026-11-22T08:16:00.000000Z",
    "expires_at": "2026-11-23T08:15:30.161000Z",
    "last_download_at": "2026-11-22T09:01:12.500000Z",
    "revoked_at": None,
}

LINK_SAMPLE: Final = """curl "$FILEPROC_URL/v1/links" -H 'Content-Type: application/json' \\
  -d '{"job_id": "JOB_ID", "expires_in_s": 3600, "max_downloads": 3}'"""

READY: Final[dict[str, Any]] = {
    "status": "ready",
    "version": "0.1.0",
    "checks": {
        "redis": {"status": "ok", "detail": "valkey 9.1.2 answers."},
        "durability": {"status": "ok", "detail": "What was accepted survives a power cut."},
        "scripts": {"status": "ok", "detail": "They run."},
        "storage": {"status": "ok", "detail": "The bucket answers."},
    },
}

POST_SAMPLES: Final = (
    """curl "$FILEPROC_URL/v1/jobs" \\
  -F 'job={"operation": "image.resize", "params": {"width": 800}}' \\
  -F 'file=@photo.jpg'""",
    """curl "$FILEPROC_URL/v1/jobs" -H 'Content-Type: application/json' \\
  -d '{"operation": "file.probe", "inputs": [{"file_id": "FILE_ID"}]}'""",
    """curl "$FILEPROC_URL/v1/jobs" -H 'Content-Type: application/json' \\
  -d '{"operation": "pdf.to_text", "inputs": [{"url": "https://example.com/report.pdf"}]}'""",
    """curl "$FILEPROC_URL/v1/jobs" -F 'file=@report.pdf' -F 'job={"steps": {
    "pages": {"operation": "pdf.to_images", "params": {"dpi": 72}},
    "thumbs": {"operation": "image.resize", "params": {"width": 200},
               "needs": ["pages"], "for_each": true},
    "zip": {"operation": "archive.create", "needs": ["thumbs"]}}}'""",
)

UPLOADING_SAMPLE: Final = """curl "$FILEPROC_URL/v1/upload-tokens" \\
  -H 'Content-Type: application/json' \\
  -d '{"template": "thumbs", "max_bytes": 10485760, "life_s": 600}'"""

KEY_SAMPLE: Final = """curl "$FILEPROC_URL/v1/keys" -H 'Content-Type: application/json' \\
  -d '{"owner": "acme", "scopes": ["operation:image.*"], "expires_in_s": 7776000}'"""

BATCH_SAMPLE: Final = """curl "$FILEPROC_URL/v1/batches" -H 'Content-Type: application/json' \\
  -d '{"each": {"operation": "image.resize", "params": {"width": 800}},
       "files": [{"file_id": "FILE_ID"}]}'"""

RETRY_SAMPLE: Final = """curl -X POST "$FILEPROC_URL/v1/jobs/retry" \\
  -H 'Content-Type: application/json' -d '{"code": "timeout", "labels": {"album": "summer"}}'"""

RETRY_FAILED_SAMPLE: Final = """curl -X POST "$FILEPROC_URL/v1/jobs/JOB_ID/retry" \\
  -H 'Content-Type: application/json' -d '{"from": "failed"}'"""

UPLOAD_SAMPLE: Final = """curl "$FILEPROC_URL/v1/uploads" -H 'Content-Type: application/json' \\
  -d '{"name": "photo.jpg", "size": 1016315, "type": "image/jpeg"}'
curl -T photo.jpg -H 'Content-Type: image/jpeg' "$PUT_URL"
curl -X POST "$FILEPROC_URL/v1/uploads/$UPLOAD/complete"
"""

FILE_SAMPLE: Final = 'curl --data-binary @photo.jpg "$FILEPROC_URL/v1/files?filename=photo.jpg"'

TEMPLATE_SAMPLE: Final = """curl -X PUT "$FILEPROC_URL/v1/templates/thumbs" \\
  -H 'Content-Type: application/json' -d '{
    "variables": {"width": {"type": "integer", "default": 200}},
    "steps": {
      "small": {"operation": "image.resize", "params": {"width": {"$var": "width"}},
                "for_each": true},
      "zip": {"operation": "archive.create", "needs": ["small"]}}}'"""

WEBHOOK: Final[dict[str, Any]] = {
    "id": WEBHOOK_ID,
    "object": "webhook",
    "url": "https://example.com/hooks/fileproc",
    "events": ["job.succeeded", "job.failed"],
    "description": "",
    "enabled": True,
    "disabled_reason": None,
    "disabled_at": None,
    "failing_since": None,
    "skipped": 0,
    "created_at": "2026-11-22T08:15:30.120000Z",
    "updated_at": "2026-11-22T08:15:30.120000Z",
    "old_secret_until": None,
}

NEW_WEBHOOK: Final[dict[str, Any]] = {
    **WEBHOOK,
    "secret": "whsec_c2l4dGVlbiBieXRlcyBvciB0d28gb2Ygc2FsdCE=",
}

DELIVERY: Final[dict[str, Any]] = {
    "id": DELIVERY_ID,
    "object": "delivery",
    "webhook_id": WEBHOOK_ID,
    "type": "job.succeeded",
    "job_id": JOB_ID,
    "batch_id": None,
    "url": None,
    "state": "pending",
    "created_at": "2026-11-22T08:15:30.161000Z",
    "finished_at": None,
    "next_attempt_at": "2026-11-22T08:15:35.611000Z",
    "attempts": 1,
    "tries": [{"at": "2026-11-22T08:15:30.200000Z", "status": 503, "error": None}],
    "note": None,
}

WEBHOOK_SAMPLE: Final = (
    "curl \"$FILEPROC_URL/v1/webhooks\" -H 'Content-Type: application/json' \\\n"
    '  -d \'{"url": "https://example.com/hooks/fileproc", "events": ["job.succeeded"]}\''
)
