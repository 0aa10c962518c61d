"""Providers: the SDK's, as its variables say, or those that the application or a file has set up."""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

import otel_search
from otel_search import delivery, lean, logs, semconv, settings
from otel_search.delivery.secrets import Gate
from otel_search.redaction import counts, redactor_of
from otel_search.settings import Settings
from otel_search.telemetry import identity
from otel_search.telemetry.descendants import is_started_by_a_service
from otel_search.telemetry.propagation import give_a_context_always
from otel_search.telemetry.single_export import ExportsToTheSame, keep_single_export

_logger = logging.getLogger("otel_search.telemetry")

_ASIDE_SECONDS = 1.0


def set_up(
    effective: Settings,
    faults: tuple[str, ...],
    configurator_arguments: dict[str, Any],
    *,
    by_application: bool = True,
) -> None:
    """Set up what nobody has set up yet.

    Args:
        effective: The settings of this process.
        faults: Lines on variables that could not be used; they are said when there are logs.
        configurator_arguments: What the launcher tells a configurator.
        by_application: Whether providers that are there are the application's doing.
    """
    stands_aside = is_started_by_a_service(settings.environment())
    # Whoever waits for such a program's end must not wait long for a Collector that is away.
    timeout = min(effective.shutdown_timeout, _ASIDE_SECONDS) if stands_aside else effective.shutdown_timeout
    ours = delivery.start(timeout)
    is_theirs = bool(_with_sdk())
    said = _configure_by_file(effective.config_file) if effective.config_file else []
    # Before the SDK, so that what it has to say of its variables is a line like any other.
    instance = {} if is_theirs or effective.config_file else identity.instance_id()
    logs.install(
        effective,
        str(identity.resource(instance).attributes.get("service.name", "unknown_service")),
        stands_aside=stands_aside,
        at_once=not by_application,
    )
    ours.before_flush = logs.drain
    gate = None if effective.redact == "off" else Gate(redactor_of(effective))
    for line in faults:
        _logger.warning(line)
    for record in said:
        logging.getLogger(record.name).handle(record)
    if is_theirs and by_application:
        _report_what_the_application_has_set()
    elif not is_theirs and not effective.config_file:
        _configure(effective, instance, configurator_arguments, gate)
    _keep_secrets(gate)
    give_a_context_always()
    ours.take_over("lines", logs.outputs())
    is_ours = not is_theirs and not effective.config_file
    for signal, provider in _with_sdk().items():
        ours.take_over(signal, provider, end=is_ours)
    if is_ours:
        providers = _providers()
        keep_single_export(**providers)
        logs.ignore_handlers(ExportsToTheSame(providers["logs"]))
        identity.report()
        delivery.watch_process(ours, lambda: identity.renew(providers.values()))
    else:
        delivery.watch_process(ours)


def _configure(
    effective: Settings, instance: dict[str, str], configurator_arguments: dict[str, Any], gate: Gate | None
) -> None:
    if effective.hot_path == "lean":
        lean.install()
        delivery.encode_faster()
    # A credential provider of the user's own brings its own session.
    exporter_arguments = {} if settings.is_any_set("CREDENTIAL_PROVIDER") else delivery.exporter_arguments()
    try:
        # Its port is opened by the server, once for all of its workers: here all but one would fail, and with them
        # all that is set up.
        with settings.without_exporter("OTEL_METRICS_EXPORTER", "prometheus"):
            _OTelSDKConfigurator()._configure(
                resource_attributes={
                    "telemetry.distro.name": "otel-search",
                    "telemetry.distro.version": otel_search.__version__,
                    **instance,
                },
                exporter_args_map=exporter_arguments,
                export_span_processor=lambda exporter, *_, **__: delivery.span_batches(
                    gate.exported(exporter) if gate else exporter, hide=gate.span if gate else _hide_nothing
                ),
                export_log_record_processor=delivery.log_batches,
                **configurator_arguments,
            )
    except Exception as error:
        chosen = settings.shown("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
        _logger.error("telemetry could not be set up as asked (%s), the application runs without it: %s", chosen, error)


def _configure_by_file(path: str) -> list[logging.LogRecord]:
    """Let the SDK do what the file says, without anything of ours.

    Returns:
        What was said of it: only the file knows the service's name, which a log line needs.
    """
    held = _Held()
    upstream = logging.getLogger("opentelemetry")
    propagates, upstream.propagate = upstream.propagate, False
    upstream.addHandler(held)
    try:
        _OTelSDKConfigurator()._configure()
        return held.records
    except Exception as error:
        text = "OTEL_CONFIG_FILE=%s cannot be used, the application runs without telemetry: %s"
        return [_logger.makeRecord(_logger.name, logging.ERROR, __file__, 0, text, (path, error), None)]
    finally:
        upstream.removeHandler(held)
        upstream.propagate = propagates


def _keep_secrets(gate: Gate | None) -> None:
    """Put the gate before whatever providers there are, and count what it and the log chain hide."""
    if gate is None:
        _logger.warning("OTEL_SEARCH_REDACT=off: secrets are not hidden, neither in log lines nor in telemetry")
        return
    for provider in _with_sdk().values():
        gate.watch(provider)

    def observed(_: metrics.CallbackOptions) -> list[metrics.Observation]:
        return [metrics.Observation(number, {semconv.REDACTED_KIND: kind}) for kind, number in counts().items()]

    semconv.TELEMETRY_REDACTED.observed_on(metrics.get_meter(semconv.SCOPE), observed)


def _hide_nothing(_: Any) -> None:
    """What is done to a span where nothing is to be hidden."""


class _Held(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _providers() -> dict[str, Any]:
    return {
        "traces": trace.get_tracer_provider(),
        "metrics": metrics.get_meter_provider(),
        "logs": _logs.get_logger_provider(),
    }


def _with_sdk() -> dict[str, Any]:
    """The providers that somebody has set; the API's own can neither export nor flush."""
    return {signal: provider for signal, provider in _providers().items() if hasattr(provider, "force_flush")}


def _report_what_the_application_has_set() -> None:
    theirs = _with_sdk()
    missing = [signal for signal in _providers() if signal not in theirs]
    rest = f"; it has set none for {' and '.join(missing)}, which are not exported" if missing else ""
    _logger.info(
        "the application has set up telemetry itself: its providers for %s are used as they are, "
        "otel-search adds no exporters%s",
        ", ".join(theirs),
        rest,
    )
