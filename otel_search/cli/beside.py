"""A service under the launcher, with the viewer beside it in this process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from otel_search import settings
from otel_search.processes import HOST, Guarded, free_port

_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    *(f"OTEL_EXPORTER_OTLP_{s}_ENDPOINT" for s in ("TRACES", "METRICS", "LOGS")),
)

# OpenTelemetry's defaults, a minute for metrics and five seconds for spans, are for production.
_FOR_DEVELOPMENT = {
    "OTEL_PYTHON_DISTRO": "otel_search",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_BLRP_SCHEDULE_DELAY": "500",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}


class StartError(RuntimeError):
    """It cannot be started; the message says why.

    Attributes:
        status: For the shell.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run_beside(command: Sequence[str], *, port: int | None, otlp_port: int | None) -> int:
    """Run a service and the viewer until the service ends.

    Args:
        command: The service's command, without the launcher.
        port: Of the viewer's page; 0 for any free one, `None` for the usual one if it is free.
        otlp_port: Of its receiver, likewise.

    Returns:
        The status for the shell: that of the service, or 128 and the number of the signal that ended it.

    Raises:
        StartError: If the service or the viewer cannot be started.
    """
    if not command:
        raise StartError("which command? As in: otel-search run -- uvicorn app:app", 2)
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    if not launcher.exists():
        raise StartError(f"there is no opentelemetry-instrument beside {sys.executable}")
    environ = {**_FOR_DEVELOPMENT, **{name: text for name, text in settings.environment().items() if text}}
    # What the launcher starts is found beside it, as in an activated environment.
    environ["PATH"] = os.pathsep.join(filter(None, (environ.get("PATH", os.defpath), str(launcher.parent))))
    if shutil.which(command[0], path=environ["PATH"]) is None:
        raise StartError(f"there is no program {command[0]!r} on PATH", 127)
    with _signals() as passed_on, contextlib.ExitStack() as ends:
        environ |= _receiver(environ, port, otlp_port, ends)
        _say("Service   " + " ".join(["opentelemetry-instrument", *command]))
        service = Guarded([str(launcher), *command], env=environ)
        passed_on(service)
        status = service.wait()
    return 128 - status if status < 0 else status


def _receiver(
    environ: Mapping[str, str], port: int | None, otlp_port: int | None, ends: contextlib.ExitStack
) -> dict[str, str]:
    """Start the viewer, unless telemetry goes elsewhere; what the service has to be told of it."""
    elsewhere = [name for name in _ENDPOINTS if name in environ]
    if elsewhere:
        from otel_search.redaction import redactor_of

        target = redactor_of(settings.current()).text(environ[elsewhere[0]])
        _say(f"Receiver  {target}  {elsewhere[0]} is set: telemetry goes there, and not to a viewer")
        return {}
    from otel_search.viewer import PortTakenError, Viewer
    from otel_search.viewer.receiver import DEFAULT_PORT as DEFAULT_OTLP_PORT
    from otel_search.viewer.viewer import DEFAULT_PORT

    if otlp_port is None:
        found = _listening(DEFAULT_OTLP_PORT)
        if found == "receiver":
            _say(f"Receiver  http://{HOST}:{DEFAULT_OTLP_PORT}  runs already: telemetry goes there")
            return {}
        if found:
            _say(f"Port {DEFAULT_OTLP_PORT} is taken by something that takes no OTLP: another one is used")
        otlp_port = 0 if found else DEFAULT_OTLP_PORT
    if port is None:
        port = free_port(DEFAULT_PORT)
    try:
        viewer = Viewer(port=port, otlp_port=otlp_port)
    except PortTakenError as error:
        option = {"port": "--port", "otlp_port": "--otlp-port"}.get(error.option, error.option)
        raise StartError(f"{error}: end what listens there, or take another one with {option}") from error
    ends.enter_context(viewer)
    _say(f"Viewer    {viewer.url}")
    _say(f"Receiver  {viewer.endpoint}  OTLP over HTTP")
    # The one in lower case wins, where there is one.
    direct = {name: ",".join(filter(None, (environ.get(name), HOST))) for name in ("NO_PROXY", "no_proxy")}
    return {**direct, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": viewer.endpoint}


def _listening(port: int) -> str:
    """What listens on a port: `receiver` if it accepts an empty batch, `something`, or nothing."""
    from otel_search.doctor.exporters import Target, probe

    outcome = probe(Target("traces", "http/protobuf", f"http://{HOST}:{port}/v1/traces", ""))
    if not outcome.problem:
        return "receiver"
    return "" if outcome.problem == "refused" else "something"


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[Guarded], None]]:
    """Pass signals on to the service, which decides what comes of them; before it is there they end us."""
    service: Guarded | None = None

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if service is None:
            raise KeyboardInterrupt
        service.tell(number)

    def passed_on(started: Guarded) -> None:
        nonlocal service
        service = started

    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and background jobs want it
            previous[number] = signal.signal(number, on_signal)
    try:
        yield passed_on
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
