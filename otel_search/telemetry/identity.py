"""Which process it is: `service.instance.id`, of its own for each worker and the same in all three signals.

Metrics of two workers under one id overwrite each other. The SDK makes a new id for each process and
each forked child. What it does not see to: an id that the user gave, which all workers share, and which
it would forget at a fork; and SDKs before 1.44, which leave the parent's in the child.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import uuid
from collections.abc import Collection
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

_logger = logging.getLogger("otel_search.telemetry")

INSTANCE_ID = "service.instance.id"

_first_process = os.getpid()


def resource(attributes: dict[str, str] | None = None) -> Resource:
    """What the process's telemetry says of it: the resource of a provider, or the one that a provider would get.

    Args:
        attributes: More than the SDK detects, where no provider is set.
    """
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
        found = getattr(provider, "resource", None)
        if isinstance(found, Resource):
            return found
    return Resource.create(attributes or {})


def instance_id() -> dict[str, str]:
    """The resource attribute that this process needs beside those that the SDK detects."""
    given = _given()
    if given is None:
        return {} if INSTANCE_ID in Resource.create().attributes else {INSTANCE_ID: str(uuid.uuid4())}
    return {INSTANCE_ID: _unique(given)} if _is_spawned() else {}


def renew(providers: Collection[Any]) -> None:
    """In a forked child: give all signals the id of this process, where the SDK does not.

    Args:
        providers: The SDK's providers.
    """
    given = _given()
    if given is None and all(hasattr(provider, "_update_resource") for provider in providers):
        return
    new = str(uuid.uuid4()) if given is None else _unique(given)
    for provider in providers:
        _rename(provider, new)
    report()


def _given() -> str | None:
    given = OTELResourceDetector().detect().attributes.get(INSTANCE_ID)
    return None if given is None else str(given)


def _is_spawned() -> bool:
    # The launcher sets telemetry up before a spawned process knows of its parent: its command line does.
    return multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv


def _unique(given: str) -> str:
    return f"{given}-{os.getpid()}"


def report() -> None:
    """Say that an id of the user's was made unique, once there are logs that carry it."""
    given = _given()
    if given is not None and (_is_spawned() or os.getpid() != _first_process):
        text = "%s=%s is shared by all workers, which need one each: this one is %s"
        _logger.warning(text, INSTANCE_ID, given, _unique(given))


def _rename(provider: Any, instance: str) -> None:
    addition = Resource({INSTANCE_ID: instance})
    if hasattr(provider, "_update_resource"):
        provider._update_resource(addition)
        return
    # SDKs before 1.44: all that the provider has made holds this one object.
    resource = getattr(provider, "resource", None) or getattr(getattr(provider, "_sdk_config", None), "resource", None)
    if isinstance(resource, Resource):
        resource._attributes._dict[INSTANCE_ID] = instance
