"""The distribution: what `opentelemetry-instrument` finds.

The launcher asks a distro for defaults, a configurator for providers, then each instrumentor to
instrument. Every default is set only where there is no value: a variable that the user has set wins.
Nothing here imports the SDK before its variables were looked at, because it raises at some of them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

import wrapt
from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro, DefaultDistro

from otel_search import settings, telemetry
from otel_search.telemetry.standard_variables import fault

NAME = "otel_search"

_logger = logging.getLogger(__name__)
_LAUNCHER = "opentelemetry.instrumentation.auto_instrumentation._load"

_faults: list[str] = []
"""Lines on variables that could not be used, for when there are logs."""

# Upstream's instrumentors whose work ours do; they decide when upstream's have to do it.
_REPLACED = {"fastapi": "otel_search_fastapi", "elasticsearch": "otel_search_elasticsearch"}
_OURS = frozenset({*_REPLACED, "structlog", "logging"})

# What ours instrument. They wait for it: a process that does not use a library does not pay for it.
_LIBRARIES = {"otel_search_fastapi": "fastapi", "otel_search_elasticsearch": "elasticsearch"}


class OtelSearchDistro(BaseDistro):  # type: ignore[misc]
    """Sets the defaults, and keeps one broken instrumentor from stopping the others."""

    chosen = False

    def _configure(self, **_: Any) -> None:
        type(self).chosen = True
        if _is_resource_tracker():
            os.environ["OTEL_SDK_DISABLED"] = "true"
        _choose_configurator()
        logging.getLogger(_LAUNCHER).addFilter(_is_news)
        if not settings.current().sdk_disabled:
            settings.set_defaults()

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Load one instrumentor; what goes wrong in it is said once and concerns nobody else."""
        name = entry_point.name
        if settings.current().sdk_disabled or name in _OURS or _is_disabled(name):
            return
        if name in _LIBRARIES:
            # By way of the room, because whoever comes into it first imports the library from there.
            room, load = entry_point.module, super().load_instrumentor
            wrapt.register_post_import_hook(lambda _: _carefully(name, lambda: load(entry_point, **kwargs)), room)
            wrapt.register_post_import_hook(lambda _: _carefully(name, lambda: import_module(room)), _LIBRARIES[name])
        elif name == "system_metrics":
            from otel_search.metrics import instrument_system

            _carefully(name, instrument_system)
        else:
            try:
                super().load_instrumentor(entry_point, **kwargs)
            except (ModuleNotFoundError, DependencyConflictError):
                raise  # the launcher's own business: a library that is not installed, or not in that version
            except Exception as error:
                _report(name, error)


class OtelSearchConfigurator:
    """Sets up the telemetry of the process."""

    def configure(self, **kwargs: Any) -> None:
        """Set up providers, exporters and logs.

        Args:
            **kwargs: What the launcher tells a configurator.
        """
        telemetry.set_up(*_faults, **kwargs)


def _choose_configurator() -> None:
    """Ours, if the user has named none: without a name the launcher takes the first that it finds, at a wrong one none."""
    variable, group = "OTEL_PYTHON_CONFIGURATOR", "opentelemetry_configurator"
    chosen = os.environ.get(variable, "").strip()
    known = sorted({entry.name for entry in entry_points(group=group)}) if chosen else []
    if chosen not in known:
        os.environ[variable] = NAME
        if chosen:
            _faults.append(fault(variable, chosen, NAME, " | ".join(known)))


def _carefully(name: str, load: Callable[[], Any]) -> None:
    try:
        load()
    except Exception as error:
        _report(name, error)


def _report(name: str, error: Exception) -> None:
    _logger.error("instrumentor %s failed and is left out: %s: %s", name, type(error).__name__, error)


def report_the_choice() -> None:
    """Say which distribution is in charge when there are several: the launcher's hook before the instrumentors."""
    if settings.current().sdk_disabled:
        return
    installed = list(entry_points(group="opentelemetry_distro"))
    others = " and ".join(sorted({_distribution(entry) for entry in installed if entry.name != NAME}))
    asked = os.environ.get("OTEL_PYTHON_DISTRO")
    if OtelSearchDistro.chosen:
        configurator = os.environ.get("OTEL_PYTHON_CONFIGURATOR", NAME)
        if configurator != NAME:
            _logger.warning(
                "OTEL_PYTHON_CONFIGURATOR=%s sets up telemetry in otel-search's place: its log lines, the care for exports "
                "and the last one when the server ends are left out",
                configurator,
            )
        if others and asked is None:
            _logger.info(
                "otel-search was found first and is in charge, %s is installed beside it; "
                "set OTEL_PYTHON_DISTRO=%s to keep it so",
                others,
                NAME,
            )
        return
    winner = _in_charge()
    if winner is None or isinstance(winner, DefaultDistro):
        _logger.warning(
            "OTEL_PYTHON_DISTRO=%r is not an installed distribution, so none is in charge; accepted: %s",
            asked,
            " | ".join(sorted({entry.name for entry in installed})),
        )
    elif asked is None:
        _logger.warning(
            "%s was found first and is in charge, otel-search stands back; set OTEL_PYTHON_DISTRO=%s to use otel-search",
            next((_distribution(entry) for entry in installed if entry.value == _value(type(winner))), others),
            NAME,
        )
    if winner is not None:
        _stand_back(winner)


def _distribution(entry: EntryPoint) -> str:
    dist: Distribution | None = getattr(entry, "dist", None)
    return str(entry.name if dist is None else dist.metadata["Name"])


def _value(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _in_charge() -> BaseDistro | None:
    """The distro that the launcher has made; each class holds its only instance."""
    classes = list(BaseDistro.__subclasses__())
    for cls in classes:
        classes += cls.__subclasses__()
    return next((vars(cls)["_instance"] for cls in classes if vars(cls).get("_instance") is not None), None)


def _stand_back(winner: BaseDistro) -> None:
    """Let one of two instrument: ours if our configurator was the one to set up, else theirs."""
    load = winner.load_instrumentor

    def load_one_side(entry_point: Any, **kwargs: Any) -> None:
        is_ours = entry_point.name.startswith(f"{NAME}_")
        if is_ours == telemetry.is_set_up() or (not is_ours and entry_point.name not in _OURS):
            load(entry_point, **kwargs)

    winner.load_instrumentor = load_one_side


def _is_disabled(name: str) -> bool:
    """Whether the user has disabled the upstream instrumentor that ours stands for."""
    disabled = {word.strip() for word in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    return any(ours == name and upstream in disabled for upstream, ours in _REPLACED.items()) or name in disabled


def _is_news(record: logging.LogRecord) -> bool:
    """Not that another configurator was left alone, which is what was asked for."""
    return not str(record.msg).startswith("Configuration of %s not loaded")


def _is_resource_tracker() -> bool:
    # multiprocessing's own process, which starts with the same environment as the workers that it serves.
    return any("multiprocessing.resource_tracker" in argument for argument in sys.orig_argv)
