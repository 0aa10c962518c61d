"""Every setting once: its variable, what it accepts, its default and its help.

A table, in the order in which the README shows it: whoever looks for a setting looks here, and whoever adds one
adds a row. Standard `OTEL_*` variables keep their upstream meaning and are listed here only where we
read them ourselves.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from otel_search.settings import paths
from otel_search.settings.accepts import (
    ADDRESSES,
    BOOLEAN,
    CALLERS,
    GAUGES,
    KPI_SOURCES,
    LEVEL,
    MEGABYTES,
    PATH,
    PATTERNS,
    PERCENTS,
    POSITIVE_SECONDS,
    ROTATION,
    SAMPLING,
    SECONDS,
    SECRETS,
    SLOW_QUERY,
    SMALL_NUMBER,
    TEXT,
    URL,
    URLS,
    WORDS,
    number,
    one_of,
    some_of,
    whole,
)
from otel_search.settings.row import Row, read_rows, rows_of, setting, table_of
from otel_search.settings.values import Rotation, Sampling, SlowQuery


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The effective settings of this process.

    Attributes:
        faults: One line for each variable whose value could not be used, or that we do not know.
    """

    fastapi: Literal["auto", "native", "contrib", "off"] = setting(
        "OTEL_SEARCH_FASTAPI",
        one_of("auto", "native", "contrib", "off"),
        "auto",
        """Who makes the server span: FastAPI itself (`native`, from 0.142 on), OpenTelemetry's contrib
        instrumentation, or nobody (`off`: request ids, headers and access lines stay). `auto` takes the native
        one where it exists.""",
    )
    operation_spans: bool = setting(
        "OTEL_SEARCH_OPERATION_SPANS",
        BOOLEAN,
        False,
        "Three more spans a request from native FastAPI: dependencies, endpoint, serialization.",
    )
    access_log: Literal["end", "both", "off"] | None = setting(
        "OTEL_SEARCH_ACCESS_LOG",
        one_of("end", "both", "off"),
        None,
        """The access line `request completed` at the end of each request, a `request started` line too, or
        none. Unset: `end`, but none if the server was told to write no access log (`uvicorn --no-access-log`), and
        failed requests alone if it was told to write no more than warnings (`uvicorn --log-level warning`).""",
    )
    log_format: Literal["auto", "json", "console"] = setting(
        "OTEL_SEARCH_LOG_FORMAT",
        one_of("auto", "json", "console"),
        "auto",
        "Log lines on stdout: JSON, or for people. `auto` is `console` on a terminal, else `json`.",
    )
    log_lines: Literal["auto", "ours", "theirs"] = setting(
        "OTEL_SEARCH_LOG_LINES",
        one_of("auto", "ours", "theirs"),
        "auto",
        """Which lines that an application writes to the console itself take otel-search's form: those without a form of
        their own (`auto`), all, or none. Each event is one line and one record either way.""",
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "OTEL_SEARCH_LOG_LEVEL",
        LEVEL,
        "info",
        "Level of the root logger, as long as the application sets none itself.",
    )
    log_sampling: Sampling = setting(
        "OTEL_SEARCH_LOG_SAMPLING",
        SAMPLING,
        Sampling(),
        """Repetitive lines, by event and level: how many of a second are kept, and one of how many then, which says in
        `sampled` how many were left out. Warnings and above are sampled only if a level says so.""",
    )
    log_file: str = setting(
        "OTEL_SEARCH_LOG_FILE",
        TEXT,
        "",
        """Write each line, as JSON, to this file, too. Several workers may share it, and an external logrotate may
        rename it.""",
    )
    log_file_rotation: Rotation = setting(
        "OTEL_SEARCH_LOG_FILE_ROTATION",
        ROTATION,
        Rotation(),
        "When the log file is renamed to `<file>.1` and the older ones to `.2` and so on: at a size, or by UTC time.",
    )
    log_file_keep: int = setting("OTEL_SEARCH_LOG_FILE_KEEP", SMALL_NUMBER, 5, "How many renamed log files are kept.")
    logs_elasticsearch_url: tuple[str, ...] = setting(
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_URL",
        URLS,
        ("http://localhost:9200",),
        "Where `OTEL_LOGS_EXPORTER=elasticsearch` sends log records, as URLs separated by commas.",
    )
    logs_elasticsearch_cloud_id: str = setting(
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_CLOUD_ID", TEXT, "", "The same, as an Elastic Cloud id; it wins over the URL."
    )
    logs_elasticsearch_api_key: str = setting(
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_API_KEY", TEXT, "", "The API key to log in with, as Elasticsearch encodes it."
    )
    logs_elasticsearch_username: str = setting(
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_USERNAME", TEXT, "", "The user to log in as, if there is no API key."
    )
    logs_elasticsearch_password: str = setting(
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_PASSWORD", TEXT, "", "The user's password."
    )
    logs_elasticsearch_ca_certs: str = setting(
        "OTEL_SEARCH_LOGS_ELASTICSEARCH_CA_CERTS", TEXT, "", "A file with the certificate authorities to trust."
    )
    logs_index: str = setting(
        "OTEL_SEARCH_LOGS_INDEX",
        TEXT,
        "",
        """Write log records to a daily index of this name and their UTC date (`app-logs`: `app-logs-2026.11.25`),
        in place of the data stream.""",
    )
    logs_dataset: str = setting(
        "OTEL_SEARCH_LOGS_DATASET", TEXT, "generic", "The dataset in the data stream `logs-<dataset>.otel-<namespace>`."
    )
    logs_namespace: str = setting(
        "OTEL_SEARCH_LOGS_NAMESPACE", TEXT, "default", "The namespace in the data stream's name."
    )
    logs_template: bool = setting(
        "OTEL_SEARCH_LOGS_TEMPLATE",
        BOOLEAN,
        True,
        "Install an index template if Elasticsearch has none for these log records and allows it.",
    )
    logs_spool: str = setting(
        "OTEL_SEARCH_LOGS_SPOOL",
        TEXT,
        "",
        "A directory for log records while Elasticsearch is down; they are sent, in order, when it is back.",
    )
    logs_spool_megabytes: int = setting(
        "OTEL_SEARCH_LOGS_SPOOL_MEGABYTES", MEGABYTES, 512, "How large the spool may become, in megabytes."
    )
    logs_failure_file: str = setting(
        "OTEL_SEARCH_LOGS_FAILURE_FILE",
        TEXT,
        "",
        "A file for log records that Elasticsearch refuses, with its reasons; rotated at 10 MB, 5 are kept.",
    )
    query_text: Literal["sanitized", "raw", "off"] = setting(
        "OTEL_SEARCH_QUERY_TEXT",
        one_of("sanitized", "raw", "off"),
        "sanitized",
        "`db.query.text`: the structure of the query without its values, the whole query, or nothing.",
    )
    capture_search_query: Literal["omit", "raw"] | None = setting(
        "OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_CAPTURE_SEARCH_QUERY",
        one_of("omit", "raw"),
        None,
        """The Elasticsearch client's own variable for `db.query.text`; if set, it counts in the place of
        `OTEL_SEARCH_QUERY_TEXT`. The client accepts no other value.""",
    )
    elasticsearch_traceparent: bool = setting(
        "OTEL_SEARCH_ELASTICSEARCH_TRACEPARENT",
        BOOLEAN,
        True,
        """Send the W3C header `traceparent` with each Elasticsearch call, so that Elasticsearch's slow log, audit
        log and tasks name the trace. `tracestate` and baggage are never sent.""",
    )
    elasticsearch_opaque_id: bool = setting(
        "OTEL_SEARCH_ELASTICSEARCH_OPAQUE_ID",
        BOOLEAN,
        True,
        """Send `X-Opaque-Id` with service name and request id, unless the caller sets one. Elasticsearch shows it in
        its slow log, its task list and its deprecation log.""",
    )
    elasticsearch_http_spans: bool = setting(
        "OTEL_SEARCH_ELASTICSEARCH_HTTP_SPANS",
        BOOLEAN,
        False,
        """Let instrumentations of HTTP clients (urllib3, aiohttp, httpx, requests) make spans beneath those of
        Elasticsearch calls.""",
    )
    partial_is_error: bool = setting(
        "OTEL_SEARCH_PARTIAL_IS_ERROR",
        BOOLEAN,
        False,
        """Give spans of partial answers the status ERROR: searches that timed out or lost a shard, bulk requests
        of which some items failed.""",
    )
    slow_query: SlowQuery = setting(
        "OTEL_SEARCH_SLOW_QUERY",
        SLOW_QUERY,
        SlowQuery(),
        """Log Elasticsearch calls that take longer, in seconds, as warnings; with exceptions by index pattern
        (`1,products=0.3,logs-*=10`). `0` is never.""",
    )
    redact: Literal["secrets", "pii", "off"] = setting(
        "OTEL_SEARCH_REDACT",
        one_of("secrets", "pii", "off"),
        "secrets",
        """What is hidden in lines, records and spans: secrets; personal data, too (e-mail addresses, phone numbers,
        names, addresses of clients); or nothing.""",
    )
    redact_keys: tuple[str, ...] = setting(
        "OTEL_SEARCH_REDACT_KEYS",
        WORDS,
        (),
        "More names of fields and URL parameters whose values are secrets, besides the built-in ones.",
    )
    redact_keep: tuple[str, ...] = setting(
        "OTEL_SEARCH_REDACT_KEEP",
        WORDS,
        (),
        "Names of fields and URL parameters whose values are no secrets, though a built-in name or ending says so.",
    )
    redact_patterns: tuple[tuple[str, re.Pattern[str]], ...] = setting(
        "OTEL_SEARCH_REDACT_PATTERNS",
        SECRETS,
        (),
        r"""More secrets by their looks, as in `customer number=KD-\d{8}`; the name stands in the place of what is
        hidden.""",
    )
    hot_path: Literal["lean", "upstream"] = setting(
        "OTEL_SEARCH_HOT_PATH",
        one_of("lean", "upstream"),
        "lean",
        """Attributes set and OTLP/HTTP batches encoded in otel-search's own way, several times cheaper with the
        same outcome, or by the SDK's code alone.""",
    )
    routes: tuple[str, ...] = setting(
        "OTEL_SEARCH_ROUTES",
        some_of("health", "metrics", "admin"),
        ("health", "metrics", "admin"),
        """Which routes of its own otel-search serves. A route of the application's own with the same path always
        wins.""",
    )
    management_port: int | None = setting(
        "OTEL_SEARCH_MANAGEMENT_PORT",
        whole(0, 65535),
        None,
        """A port for these routes, which are then not on the application's; `0` is any, and the log says
        which.""",
    )
    management_host: str = setting(
        "OTEL_SEARCH_MANAGEMENT_HOST", TEXT, "127.0.0.1", "The address that the management port listens on."
    )
    health_path: str = setting(
        "OTEL_SEARCH_HEALTH_PATH",
        PATH,
        paths.HEALTH,
        "Where the health routes are: this path, and `/live` and `/ready` below it.",
    )
    health_details: Literal["always", "authorized", "never"] = setting(
        "OTEL_SEARCH_HEALTH_DETAILS",
        one_of("always", "authorized", "never"),
        "authorized",
        """Who sees details of components: everybody, who sends `OTEL_SEARCH_ADMIN_TOKEN` as bearer token, or
        nobody.""",
    )
    health_timeout: float = setting(
        "OTEL_SEARCH_HEALTH_TIMEOUT", POSITIVE_SECONDS, 1.0, "The longest that one health check may take, in seconds."
    )
    health_cache: float = setting(
        "OTEL_SEARCH_HEALTH_CACHE", SECONDS, 2.0, "How long the result of a health check counts, in seconds."
    )
    health_failure_threshold: int = setting(
        "OTEL_SEARCH_HEALTH_FAILURE_THRESHOLD",
        whole(1, 100),
        2,
        "How many failures in a row of a critical check turn readiness off.",
    )
    health_success_threshold: int = setting(
        "OTEL_SEARCH_HEALTH_SUCCESS_THRESHOLD",
        whole(1, 100),
        1,
        "How many successes in a row turn readiness on again.",
    )
    health_loop_lag: float = setting(
        "OTEL_SEARCH_HEALTH_LOOP_LAG",
        SECONDS,
        5.0,
        "From how many seconds of delay on the event loop counts as stalled, which fails liveness. `0` is never.",
    )
    health_memory: tuple[float, float] = setting(
        "OTEL_SEARCH_HEALTH_MEMORY",
        PERCENTS,
        (80.0, 90.0),
        "Memory in use, in percent of the container's limit or the machine's, from which on it is degraded, unhealthy.",
    )
    health_disk: tuple[float, float] = setting(
        "OTEL_SEARCH_HEALTH_DISK",
        PERCENTS,
        (80.0, 90.0),
        "Disk in use, in percent, from which on it is degraded, unhealthy.",
    )
    health_disk_paths: tuple[str, ...] = setting(
        "OTEL_SEARCH_HEALTH_DISK_PATHS", WORDS, ("/",), "Paths on the disks to check."
    )
    health_indices: tuple[str, ...] = setting(
        "OTEL_SEARCH_HEALTH_INDICES", WORDS, (), "Elasticsearch indices without which the service is not ready."
    )
    elasticsearch_url: str = setting(
        "OTEL_SEARCH_ELASTICSEARCH_URL",
        URL,
        "",
        "The Elasticsearch whose health is checked, in place of those that the application has clients for.",
    )
    metrics_path: str = setting(
        "OTEL_SEARCH_METRICS_PATH", PATH, paths.METRICS, "Where the metrics are, for Prometheus."
    )
    gauges: tuple[tuple[str, str], ...] = setting(
        "OTEL_SEARCH_GAUGES",
        GAUGES,
        (),
        """How the gauges of several workers become one at `/metrics`, by patterns of their names. Others have one
        series a worker.""",
    )
    apdex_threshold: float = setting(
        "OTEL_SEARCH_APDEX_THRESHOLD",
        POSITIVE_SECONDS,
        0.25,
        "Apdex: up to how many seconds a request satisfies; up to four times as many it is tolerated.",
    )
    kpi_source: tuple[tuple[str, str], ...] = setting(
        "OTEL_SEARCH_KPI_SOURCE",
        KPI_SOURCES,
        (),
        """Where KPIs are computed for the whole fleet: Prometheus, the access log in Elasticsearch, or both, which
        complete each other. Without a URL it is the Elasticsearch of `OTEL_SEARCH_LOGS_ELASTICSEARCH_URL`; how to log
        in is said by those variables, too. Unset: from the workers of this server.""",
    )
    kpi_selector: str = setting(
        "OTEL_SEARCH_KPI_SELECTOR", TEXT, "", 'Which series in that Prometheus are this service\'s, as `job="shop"`.'
    )
    callers: tuple[tuple[str, str, str], ...] = setting(
        "OTEL_SEARCH_CALLERS",
        CALLERS,
        (),
        """Where a request says who its user and session are, as in `user=header:x-user-id,session=cookie:sid`. Anyone
        can send a header: name one that your proxy sets, and takes away from others.""",
    )
    caller_ids: Literal["hashed", "raw"] = setting(
        "OTEL_SEARCH_CALLER_IDS",
        one_of("hashed", "raw"),
        "hashed",
        """How users and sessions are named: by a keyed hash of their ids, or by the ids, for those that say nothing of a
        person. What comes from a cookie or a secret's header is always hashed.""",
    )
    pseudonym_key: str = setting(
        "OTEL_SEARCH_PSEUDONYM_KEY",
        TEXT,
        "",
        """The key of that hash, the same for all servers whose users are to be told apart together. Unset: a random one
        for each server and its workers.""",
    )
    alerts: Literal["off", "embedded"] = setting(
        "OTEL_SEARCH_ALERTS",
        one_of("off", "embedded"),
        "off",
        """`embedded`: one worker of the service evaluates the alert rules and sends the mails, for those who have no
        Prometheus and Alertmanager.""",
    )
    alerts_rules: str = setting(
        "OTEL_SEARCH_ALERTS_RULES",
        TEXT,
        "",
        "A file, YAML or Python, with alert rules of your own and changes to those that come with otel-search.",
    )
    alerts_objective: float = setting(
        "OTEL_SEARCH_ALERTS_OBJECTIVE",
        number(50, 99.999, "a percentage, 50 to 99.999"),
        99.9,
        "The objective for requests that do not fail, in percent, whose error budget the burn rate alerts watch.",
    )
    alerts_interval: float = setting(
        "OTEL_SEARCH_ALERTS_INTERVAL", SECONDS, 15.0, "How often the rules are evaluated in the process, in seconds."
    )
    alerts_cooldown: float = setting(
        "OTEL_SEARCH_ALERTS_COOLDOWN",
        SECONDS,
        300.0,
        "Within how many seconds an alert is told once at most, however often it comes and goes.",
    )
    alerts_repeat: float = setting(
        "OTEL_SEARCH_ALERTS_REPEAT",
        SECONDS,
        300.0,
        "After how many seconds an alert that goes on is told again, but not before the cooldown. `0` is never.",
    )
    alerts_time_scale: float = setting(
        "OTEL_SEARCH_ALERTS_TIME_SCALE",
        number(0.001, 1, "a factor, 0.001 to 1"),
        1.0,
        "Multiplies the windows and delays of all rules: for drills, in which nobody wants to wait five minutes.",
    )
    alerts_state: str = setting(
        "OTEL_SEARCH_ALERTS_STATE",
        TEXT,
        "",
        """The file with what is known of alerts, so that they survive a restart. Unset: one below `TMPDIR` for each
        server. Servers that share one have one evaluator among them.""",
    )
    alerts_to: tuple[str, ...] = setting(
        "OTEL_SEARCH_ALERTS_TO", ADDRESSES, (), "Who gets the mails of alerts whose rules name nobody."
    )
    alerts_from: str = setting(
        "OTEL_SEARCH_ALERTS_FROM", TEXT, "", "The sender of the mails; unset, it is `otel-search@localhost`."
    )
    alerts_smtp_host: str = setting(
        "OTEL_SEARCH_ALERTS_SMTP_HOST", TEXT, "", "The mail server. Without one there are no mails."
    )
    alerts_smtp_port: int | None = setting(
        "OTEL_SEARCH_ALERTS_SMTP_PORT",
        whole(1, 65535),
        None,
        "Its port; unset, it is 587 for `starttls`, 465 for `tls` and 25 for `plain`.",
    )
    alerts_smtp_security: Literal["starttls", "tls", "plain"] = setting(
        "OTEL_SEARCH_ALERTS_SMTP_SECURITY",
        one_of("starttls", "tls", "plain"),
        "starttls",
        """How the connection is encrypted: by STARTTLS, from the beginning, or not at all. A server that cannot do
        what is set gets no mail.""",
    )
    alerts_smtp_username: str = setting(
        "OTEL_SEARCH_ALERTS_SMTP_USERNAME", TEXT, "", "Who to log in as; unset, nobody."
    )
    alerts_smtp_password: str = setting("OTEL_SEARCH_ALERTS_SMTP_PASSWORD", TEXT, "", "The password.")
    alerts_smtp_password_file: str = setting(
        "OTEL_SEARCH_ALERTS_SMTP_PASSWORD_FILE", TEXT, "", "A file with the password, in place of the variable."
    )
    alerts_smtp_ca_certs: str = setting(
        "OTEL_SEARCH_ALERTS_SMTP_CA_CERTS",
        TEXT,
        "",
        "A file with the certificate authorities that the mail server's certificate may come from.",
    )
    alerts_smtp_timeout: float = setting(
        "OTEL_SEARCH_ALERTS_SMTP_TIMEOUT",
        SECONDS,
        10.0,
        "The longest that one attempt to send a mail, or to call the webhook, may take in all, in seconds.",
    )
    alerts_webhook_url: str = setting(
        "OTEL_SEARCH_ALERTS_WEBHOOK_URL",
        URL,
        "",
        "Where alerts are posted, too, in the format of Alertmanager's webhooks.",
    )
    alerts_runbooks: str = setting(
        "OTEL_SEARCH_ALERTS_RUNBOOKS",
        TEXT,
        "docs/alerts.md",
        "The address of `docs/alerts.md`, or of what you have in its place, that alerts link to.",
    )
    admin_token: str = setting(
        "OTEL_SEARCH_ADMIN_TOKEN",
        TEXT,
        "",
        "The bearer token of `/admin/metrics`, `/admin/loggers` and health details. Without it there are no such routes.",
    )
    shutdown_timeout: float = setting(
        "OTEL_SEARCH_SHUTDOWN_TIMEOUT",
        SECONDS,
        5.0,
        "The longest that the end of the process waits for all telemetry to leave, in seconds.",
    )
    metrics_exporters: tuple[str, ...] = setting(
        "OTEL_METRICS_EXPORTER",
        WORDS,
        ("otlp",),
        """Where metrics go, as upstream says; `prometheus` is a port of its own for `/metrics`, which all workers of a
        server that serves FastAPI share.""",
    )
    prometheus_host: str = setting(
        "OTEL_EXPORTER_PROMETHEUS_HOST", TEXT, "localhost", "The address that this port listens on."
    )
    prometheus_port: int = setting("OTEL_EXPORTER_PROMETHEUS_PORT", whole(0, 65535), 9464, "This port.")
    sdk_disabled: bool = setting(
        "OTEL_SDK_DISABLED",
        BOOLEAN,
        False,
        "`true`: the application behaves as if otel-search was not installed.",
    )
    config_file: str = setting(
        "OTEL_CONFIG_FILE",
        TEXT,
        "",
        "Declarative configuration of the SDK. If set, providers and exporters are its business, not ours.",
    )
    log_correlation: bool = setting(
        "OTEL_PYTHON_LOG_CORRELATION",
        BOOLEAN,
        False,
        """Upstream's variable: formatters also find the ids as `otelTraceID`, `otelSpanID`, `otelTraceSampled` and
        `otelServiceName`.""",
    )
    excluded_urls: tuple[re.Pattern[str], ...] = setting(
        "OTEL_PYTHON_EXCLUDED_URLS",
        PATTERNS,
        (),
        "URLs without spans, metrics and access lines, besides health checks and `/metrics`.",
    )
    fastapi_excluded_urls: tuple[re.Pattern[str], ...] = setting(
        "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS",
        PATTERNS,
        (),
        "As `OTEL_PYTHON_EXCLUDED_URLS`, for FastAPI alone; if set, it counts in its place.",
    )
    faults: tuple[str, ...] = ()

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from `environ`; an empty variable counts as unset, as in OpenTelemetry."""
        values, faults = read_rows(rows(), environ)
        faults += paths.keep_apart(values)
        return cls(**values, faults=faults)


@functools.cache
def rows() -> tuple[Row, ...]:
    """All settings, in the order in which they are documented."""
    return rows_of(Settings)


def table() -> str:
    """The settings as a Markdown table; the README's is generated from it."""
    return table_of(rows())
