"""Object storage: the one port that the roles use, and its S3 adapter.

Four kinds of calls leave this package: objects go in (`put_stream`, `put_file`), come out
(`get_file`, `stream`, `presign_get`), go away (`delete`, `delete_prefix`, `abort_uploads`), and are
listed. What a file is called, its type and its owner stand in Redis: here are bytes under keys of
our own making. Only what every S3 server does alike is used: no conditional writes, no tags, no
lifecycle rules, no presigned POST, contiguous part numbers.
"""

from fileproc.objects.connected import Connections, Found, open_connections
from fileproc.objects.files import file_chunks, removed_on_error, save
from fileproc.objects.keys import (
    attempt_prefix,
    file_key,
    job_prefix,
    journal_key,
    journal_root,
    tail_key,
    tail_prefix,
)
from fileproc.objects.names import clean_name, content_disposition
from fileproc.objects.port import ObjectInfo, ObjectStore, SignedRequest, Stored
from fileproc.objects.s3 import S3ObjectStore, open_object_store

__all__ = [
    "Connections",
    "Found",
    "ObjectInfo",
    "ObjectStore",
    "S3ObjectStore",
    "SignedRequest",
    "Stored",
    "attempt_prefix",
    "clean_name",
    "content_disposition",
    "file_chunks",
    "file_key",
    "job_prefix",
    "journal_key",
    "journal_root",
    "open_connections",
    "open_object_store",
    "removed_on_error",
    "save",
    "tail_key",
    "tail_prefix",
]
