"""Metrics and log configuration. Neither contains secrets."""

import logging
import re
import sys
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service import __version__

REGISTRY = CollectorRegistry()

build_info = Gauge("relay_build_info", "1, with the version that runs.", ["version"], registry=REGISTRY)
build_info.labels(__version__).set(1)
database_up = Gauge("relay_database_up", "1 when the database answered this scrape.", registry=REGISTRY)
writes_waiting = Gauge(
    "relay_database_writes_waiting", "Writes of this process that wait for a commit.", registry=REGISTRY
)
worker_last_seen = Gauge(
    "relay_worker_last_seen_timestamp_seconds", "When any worker last gave a sign of life.", registry=REGISTRY
)
http_request_seconds = Histogram(
    "relay_http_request_seconds",
    "Time until the answer to a request begins, by route; `none` for a path that is no route.",
    ["method", "route", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
soniox_requests = Counter(
    "relay_soniox_requests_total", "Requests to Soniox.", ["operation", "code"], registry=REGISTRY
)
soniox_request_seconds = Histogram(
    "relay_soniox_request_seconds", "Time of requests to Soniox.", ["operation"], registry=REGISTRY
)
transcriptions_finished = Counter(
    "relay_transcriptions_finished_total",
    "Finished transcriptions by outcome and by how the relay learned of it.",
    ["outcome", "source"],
    registry=REGISTRY,
)
audio_seconds = Counter(
    "relay_audio_seconds_total", "Length of the recordings that were transcribed.", registry=REGISTRY
)
turnaround_seconds = Histogram(
    "relay_turnaround_seconds",
    "From accepted to finished.",
    buckets=(0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400),
    registry=REGISTRY,
)
delivery_attempts = Counter(
    "relay_delivery_attempts_total", "Tries to deliver an event.", ["outcome"], registry=REGISTRY
)
delivery_seconds = Histogram("relay_delivery_seconds", "Time of one try to deliver.", registry=REGISTRY)
reconciler_runs = Counter("relay_reconciler_runs_total", "Sweeps.", ["result"], registry=REGISTRY)
reconciler_last_run = Gauge(
    "relay_reconciler_last_run_timestamp_seconds",
    "When the last sweep ended, by whichever process.",
    registry=REGISTRY,
)
reconciler_found = Counter(
    "relay_reconciler_found_total", "What sweeps found and mended, by kind.", ["kind"], registry=REGISTRY
)
step_errors = Counter(
    "relay_step_errors_total", "Steps that ended in an unforeseen error.", ["queue"], registry=REGISTRY
)
transcriptions_open = Gauge("relay_transcriptions", "Transcriptions by stage.", ["stage"], registry=REGISTRY)
work_waiting = Gauge("relay_work_waiting", "Rows that wait for a worker.", ["queue"], registry=REGISTRY)
oldest_waiting = Gauge(
    "relay_oldest_waiting_seconds",
    "Age of the oldest in a stage or queue.",
    ["queue"],
    registry=REGISTRY,
)
soniox_blocked = Gauge(
    "relay_soniox_blocked", "1 while no work goes to Soniox: refused key, rate limit or outage.", registry=REGISTRY
)
soniox_quota_exceeded = Counter(
    "relay_soniox_quota_exceeded_total", "How often Soniox said that a quota is full.", registry=REGISTRY
)
work_stalled = Gauge(
    "relay_work_stalled", "Rows that are overdue and that no worker runs.", ["queue"], registry=REGISTRY
)
soniox_held = Gauge("relay_soniox_quota_used", "What the relay holds at Soniox.", ["kind"], registry=REGISTRY)
soniox_quota = Gauge("relay_soniox_quota_limit", "What it may hold there.", ["kind"], registry=REGISTRY)


# PostgreSQL reports a violated constraint with the row's values. They end at the statement or the next error.
ROW_IN_AN_ERROR = re.compile(r"DETAIL: .*?(?=\n\[SQL: |\n\nThe above exception|\n\nDuring handling|\Z)", re.DOTALL)


def _without_rows(_logger: Any, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Remove the values of rows from the logged exception."""
    if text := line.get("exception"):
        line["exception"] = ROW_IN_AN_ERROR.sub("DETAIL: (left out)", text)
    return line


def observe_soniox_call(operation: str, code: int | None, seconds: float) -> None:
    """Count one request to Soniox. `code` is None if there was no response."""
    soniox_requests.labels(operation, str(code or "none")).inc()
    soniox_request_seconds.labels(operation).observe(seconds)


def configure_logs(level: str, shape: Literal["console", "json"]) -> None:
    """Send the records of structlog and the standard library to stderr in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _without_rows,
    ]
    last: Any = (
        structlog.processors.JSONRenderer()
        if shape == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="ts")
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=last))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for noisy in (
        "httpx",
        "httpcore",
        "asyncio",
        "sqlalchemy.engine",
        "uvicorn.access",
        "alembic.runtime",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
