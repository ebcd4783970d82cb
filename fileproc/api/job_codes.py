"""Every code that the `error` of a job can have, for the documentation."""

from __future__ import annotations

from typing import Final, NamedTuple

from fileproc.errors import ErrorClass

_PERMANENT: Final = ErrorClass.PERMANENT
_TRANSIENT: Final = ErrorClass.TRANSIENT
_RESOURCE: Final = ErrorClass.RESOURCE
_CRASH: Final = ErrorClass.CRASH


class JobCode(NamedTuple):
    """Why a job failed, in a sentence, and how such an attempt is classed."""

    error_class: ErrorClass
    says: str


JOB_CODES: Final[dict[str, JobCode]] = {
    # --- the input, or a parameter that needs the input to be judged ---------------------------
    "archive_bomb": JobCode(_PERMANENT, "The archive unpacks to far more than it may."),
    "archive_too_large": JobCode(_PERMANENT, "The archive has more entries than can be listed."),
    "bad_csv": JobCode(_PERMANENT, "The CSV or TSV breaks its own rules, such as an open quote."),
    "bad_encoding": JobCode(_PERMANENT, "The text has bytes that are not in its encoding."),
    "bad_input": JobCode(_PERMANENT, "The input cannot be processed."),
    "bad_json": JobCode(_PERMANENT, "A line is not valid JSON, or cannot be written as such."),
    "bad_query": JobCode(_PERMANENT, "The query does not fit the table, or breaks the rules."),
    "corrupt_input": JobCode(_PERMANENT, "The file is damaged or cut off."),
    "count_mismatch": JobCode(_PERMANENT, "The number of inputs does not fit the parameters."),
    "document_too_complex": JobCode(_PERMANENT, "The document asks for more work than is done."),
    "empty_table": JobCode(_PERMANENT, "The table has nothing in it, not even names of columns."),
    "image_too_large": JobCode(_PERMANENT, "The picture has more pixels than may be decoded."),
    "input_changed": JobCode(_PERMANENT, "An input is not what was uploaded; upload it again."),
    "input_missing": JobCode(_PERMANENT, "An input is no longer stored; upload it again."),
    "invalid_params": JobCode(_PERMANENT, "The worker, of another version, refuses a parameter."),
    "no_preview": JobCode(_PERMANENT, "The document holds no picture of itself."),
    "infected": JobCode(_PERMANENT, "The scanner found something, and the job was to fail then."),
    "kept_missing": JobCode(_PERMANENT, "What an earlier job has kept is gone; repeat it whole."),
    "language_missing": JobCode(_PERMANENT, "There is no data to recognize text in a language."),
    "nothing_matches": JobCode(_PERMANENT, "The archive has no file that is chosen."),
    "media_too_long": JobCode(_PERMANENT, "The sound or film is longer than may be processed."),
    "output_too_large": JobCode(_PERMANENT, "The result would be larger than it may be."),
    "mark_missing": JobCode(_PERMANENT, "There is no watermark, or there are two: give one."),
    "outside_image": JobCode(_PERMANENT, "The picture has no such part."),
    "page_out_of_range": JobCode(_PERMANENT, "The document has no such page."),
    "password_required": JobCode(_PERMANENT, "The document is encrypted: give its password."),
    "ragged_rows": JobCode(_PERMANENT, "The rows of the table do not have the same length."),
    "record_too_long": JobCode(_PERMANENT, "One record of the table is longer than it may be."),
    "scan_too_large": JobCode(_PERMANENT, "The file is larger than the scanner takes."),
    "schema_mismatch": JobCode(_PERMANENT, "A cell does not fit the type of its column."),
    "table_too_large": JobCode(_PERMANENT, "The table is larger than may be read or made at once."),
    "stream_missing": JobCode(_PERMANENT, "The file has no sound, or no moving picture."),
    "time_out_of_range": JobCode(_PERMANENT, "The sound or film ends before the time asked for."),
    "too_many_columns": JobCode(_PERMANENT, "The table has more columns than it may have."),
    "too_many_outputs": JobCode(_PERMANENT, "The job would make more files than it may."),
    "too_many_streams": JobCode(_PERMANENT, "The file has more streams than it may have."),
    "type_mismatch": JobCode(_PERMANENT, "The operation does not take this type of file."),
    "unknown_column": JobCode(_PERMANENT, "The table has no such column."),
    "undrawable_text": JobCode(_PERMANENT, "No font of the worker can draw the text."),
    "unknown_operation": JobCode(_PERMANENT, "The worker, of another version, has none such."),
    "unknown_sheet": JobCode(_PERMANENT, "The workbook has no such sheet."),
    "unsafe_archive": JobCode(_PERMANENT, "An entry climbs out, is a link, or clashes."),
    "unsupported_table": JobCode(_PERMANENT, "The wanted format cannot hold this table."),
    "unsupported_variant": JobCode(_PERMANENT, "This variant of the format cannot be read."),
    "wrong_password": JobCode(_PERMANENT, "The password does not open the document."),
    "xml_dtd": JobCode(_PERMANENT, "The file declares a document type (DTD), which is refused."),
    # --- what is fetched from a URL, or sent to one ---------------------------------------------
    "delivery_failed": JobCode(_TRANSIENT, "An output could not be sent: no connection, or 5xx."),
    "delivery_impossible": JobCode(_PERMANENT, "There is no such output to send, or several."),
    "delivery_refused": JobCode(_PERMANENT, "The place that an output is sent to refuses it."),
    "outputs_missing": JobCode(_PERMANENT, "What was to be sent again is no longer stored."),
    "empty_file": JobCode(_PERMANENT, "The URL answered with an empty file."),
    "fetch_encoded": JobCode(_PERMANENT, "The URL's answer is compressed in an unasked way."),
    "fetch_failed": JobCode(_TRANSIENT, "The URL could not be fetched: no connection, or 5xx."),
    "fetch_refused": JobCode(_PERMANENT, "The URL answered something else than a file."),
    "fetch_timeout": JobCode(_TRANSIENT, "The URL took too long to answer."),
    "fetch_too_large": JobCode(_PERMANENT, "The files from URLs are larger than they may be."),
    "too_many_redirects": JobCode(_PERMANENT, "The URL redirects too often."),
    "url_not_allowed": JobCode(_PERMANENT, "The URL leads to an address that is not allowed."),
    # --- a limit -------------------------------------------------------------------------------
    "cpu_time": JobCode(_RESOURCE, "The job used more processor time than it may."),
    "insufficient_storage": JobCode(_RESOURCE, "The storage had no room for the outputs."),
    "killed": JobCode(_RESOURCE, "The job was killed from outside, most likely for its memory."),
    "out_of_memory": JobCode(_RESOURCE, "The job needed more memory than it may use."),
    "out_of_resources": JobCode(_RESOURCE, "The job used up a limit."),
    "scratch_full": JobCode(_RESOURCE, "The job needed more space for its files than it may use."),
    "timeout": JobCode(_RESOURCE, "The job took longer than it may."),
    "too_many_threads": JobCode(_RESOURCE, "The job started more threads than it may."),
    # --- the operation -------------------------------------------------------------------------
    "bad_output": JobCode(_PERMANENT, "The operation made something that is no regular file."),
    "crashed": JobCode(_CRASH, "The operation crashed."),
    "debug_fail": JobCode(_PERMANENT, "It was told to fail, for a test; in whatever class."),
    "ended_early": JobCode(_CRASH, "The operation ended without a result."),
    "internal_error": JobCode(_CRASH, "An error that nobody foresaw; the worker's log has more."),
    "output_missing": JobCode(_CRASH, "The operation did not write what it said it wrote."),
    "protocol_broken": JobCode(_CRASH, "The operation broke the rules it runs under."),
    # --- what it runs on -----------------------------------------------------------------------
    "corrupt_record": JobCode(_PERMANENT, "The record of the job in the store cannot be read."),
    "job_failed": JobCode(_TRANSIENT, "The attempt failed."),
    "program_missing": JobCode(_TRANSIENT, "The worker lacks a program that the operation needs."),
    "scanner_unavailable": JobCode(_TRANSIENT, "The virus scanner did not answer."),
    "no_process": JobCode(_TRANSIENT, "The worker could not start a process for the job."),
    "sandbox_failed": JobCode(_TRANSIENT, "The worker could not confine the job: not started."),
    "storage_unavailable": JobCode(_TRANSIENT, "The object storage did not answer."),
    "store_unavailable": JobCode(_TRANSIENT, "The job store did not answer."),
    "worker_lost": JobCode(ErrorClass.WORKER_LOST, "The workers that ran the job went silent."),
}
