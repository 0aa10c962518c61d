"""Sets up the telemetry of a process: the SDK as its variables say, our exporters' care, the logs.

Both doors come through here, the launcher's and `otel_search.instrument`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import uuid
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

import otel_search
from otel_search import delivery, logs, settings

_logger = logging.getLogger(__name__)

_INSTANCE_ID = "service.instance.id"
_ready = False


def set_up(**configurator_arguments: Any) -> None:
    """Set up providers, exporters and logs, once; providers that the application has set are kept.

    Args:
        **configurator_arguments: What the launcher tells a configurator.
    """
    global _ready
    effective = settings.current()
    if _ready or effective.sdk_disabled:
        return
    _ready = True
    settings.set_defaults()
    if effective.config_file:
        _set_up_by_file()
        logs.install(effective, _service_name())
        _say(effective.faults)
        return
    ours = delivery.start(effective.shutdown_timeout)
    own_providers = _application_has_providers()
    instance = {} if own_providers else _instance_id()
    logs.install(effective, str(_described().attributes["service.name"]))
    if not own_providers:
        _configure_sdk(instance, configurator_arguments)
    for signal, provider in _providers().items():
        if hasattr(provider, "force_flush"):
            ours.take_over(signal, provider, end=not own_providers)
    if not own_providers:
        _keep_single_export()
    delivery.end_on_sigterm()
    _say(effective.faults)


def _configure_sdk(instance: dict[str, str], configurator_arguments: dict[str, Any]) -> None:
    if settings.current().encoder == "fast":
        delivery.encode_faster()
    try:
        _OTelSDKConfigurator()._configure(
            resource_attributes={
                "telemetry.distro.name": "otel-search",
                "telemetry.distro.version": otel_search.__version__,
                **instance,
            },
            exporter_args_map=_exporter_arguments(),
            export_span_processor=delivery.span_batches,
            export_log_record_processor=delivery.log_batches,
            **configurator_arguments,
        )
    except Exception as error:
        chosen = settings.shown("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
        _logger.error("telemetry could not be set up as asked (%s), the application runs without it: %s", chosen, error)


def _set_up_by_file() -> None:
    # The providers are the file's business: nothing of ours is passed, and nothing of it is changed.
    try:
        _OTelSDKConfigurator()._configure()
    except Exception as error:
        _logger.error("OTEL_CONFIG_FILE=%s could not be used: %s", settings.current().config_file, error)


def _providers() -> dict[str, Any]:
    return {
        "traces": trace.get_tracer_provider(),
        "metrics": metrics.get_meter_provider(),
        "logs": _logs.get_logger_provider(),
    }


def _application_has_providers() -> bool:
    return any(hasattr(provider, "force_flush") for provider in _providers().values())


def _described() -> Resource:
    for provider in _providers().values():
        resource = getattr(provider, "resource", None)
        if isinstance(resource, Resource):
            return resource
    return Resource.create()


def _service_name() -> str:
    return str(_described().attributes.get("service.name", "unknown_service"))


def _say(faults: tuple[str, ...]) -> None:
    for fault in faults:
        _logger.warning(fault)


def _exporter_arguments() -> dict[type, dict[str, Any]]:
    # A credential provider of the user's own brings its own session.
    if settings.is_any_set("CREDENTIAL_PROVIDER"):
        return {}
    return delivery.exporter_arguments()


def _instance_id() -> dict[str, str]:
    """`service.instance.id` where the SDK would not make it unique for each process."""
    given = OTELResourceDetector().detect().attributes.get(_INSTANCE_ID)
    if given is None:
        # SDKs before 1.44 set none.
        return {} if _INSTANCE_ID in Resource.create().attributes else {_INSTANCE_ID: str(uuid.uuid4())}
    if multiprocessing.parent_process() is None:
        return {}
    # One of several workers that share the environment: metrics under one id would overwrite each other.
    unique = f"{given}-{os.getpid()}"
    _logger.warning("%s=%s is shared by all workers: this one is %s", _INSTANCE_ID, given, unique)
    return {_INSTANCE_ID: unique}


def _keep_single_export() -> None:
    """Ignore a second exporter to the same place, added by an application that sets telemetry up itself."""
    for provider, method in (
        (trace.get_tracer_provider(), "add_span_processor"),
        (_logs.get_logger_provider(), "add_log_record_processor"),
    ):
        add = getattr(provider, method, None)
        if add is not None:
            setattr(provider, method, _adding_once(add, {_target(processor) for processor in _processors(provider)}))


def _adding_once(add: Any, targets: set[tuple[str, str] | None]) -> Any:
    def add_processor(processor: Any) -> None:
        target = _target(processor)
        if target is not None and target in targets:
            _logger.warning(
                "ignored a second exporter of the application's own to %s: otel-search exports there already", target[1]
            )
            return
        targets.add(target)
        add(processor)

    return add_processor


def _processors(provider: Any) -> tuple[Any, ...]:
    multi = getattr(provider, "_active_span_processor", None) or getattr(provider, "_multi_log_record_processor", None)
    processors: tuple[Any, ...] = getattr(multi, "_span_processors", ()) or getattr(multi, "_log_record_processors", ())
    return processors


def _target(processor: Any) -> tuple[str, str] | None:
    """Kind and endpoint of the OTLP exporter behind a processor."""
    exporter = getattr(processor, "span_exporter", None) or getattr(
        getattr(processor, "_batch_processor", None), "_exporter", None
    )
    endpoint = getattr(exporter, "_endpoint", None)
    if exporter is None or endpoint is None:
        return None
    return (type(exporter).__name__, str(endpoint))
