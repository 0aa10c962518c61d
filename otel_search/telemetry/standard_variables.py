"""OpenTelemetry's own variables: a value that the SDK cannot use must not cost all telemetry.

The SDK raises at many of them, some while it is being imported, and then nothing is set up at all.
So what it would refuse is taken out of the environment before it looks, with a line that names the
variable, the value and what is accepted. Worker processes inherit the corrected environment, and
the line is said once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from otel_search.settings import DEFAULTS, without_user_info

SIGNALS = ("TRACES", "METRICS", "LOGS")

Environment = MutableMapping[str, str]

# What the SDK takes for a header; of what it does not take it writes the value, a secret as a rule, to stderr.
_HEADER = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*")
_DETECTORS = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
_RESOURCE_ATTRIBUTE = re.compile(r"\s*[^\s=][^=]*=.*")


@dataclass(frozen=True)
class _Accepted:
    """What a variable accepts.

    Attributes:
        is_good: Whether a value can be used.
        words: What is accepted, for people.
        default: What is used in place of a value that is not.
    """

    is_good: Callable[[str], bool]
    words: str
    default: str


def _number(low: float, high: float, words: str, default: str, kind: Callable[[str], float] = int) -> _Accepted:
    def is_good(text: str) -> bool:
        try:
            return low <= kind(text) <= high
        except ValueError:
            return False

    return _Accepted(is_good, words, default)


def _one_of(*choices: str, default: str) -> _Accepted:
    return _Accepted(lambda text: text in choices, " | ".join(choices), default)


@dataclass(frozen=True)
class _Component:
    """What a variable accepts that names something installed, which is looked up only where one is set.

    Attributes:
        group: The group of entry points.
        default: What is used in place of a value that cannot be.
    """

    group: str
    default: str

    def is_good(self, text: str) -> bool:
        """Whether a value can be used."""
        return text in _installed(self.group)

    @property
    def words(self) -> str:
        """What is accepted, for people."""
        return " | ".join(sorted(_installed(self.group))) or "nothing that is installed"


def _installed(group: str) -> set[str]:
    """The names of entry points; some milliseconds, since the files of all distributions are read."""
    return {entry.name for entry in entry_points(group=group)}


def _is_endpoint(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


_BUILT_IN_PROVIDERS = frozenset(
    f"{kind}_{signal}_provider" for kind in ("sdk", "default") for signal in ("tracer", "meter", "logger")
)
_LARGE = 2**31 - 1
_COUNT = _number(0, _LARGE, "a whole number, 0 or more", "no limit of its own")
_COMPRESSION = _Accepted(
    lambda text: text.lower() in ("none", "gzip", "deflate"), "none | gzip | deflate", "no compression"
)
_TEMPORALITY = _Accepted(
    lambda text: text.lower() in ("cumulative", "delta", "lowmemory"), "cumulative | delta | lowmemory", "cumulative"
)


def _milliseconds(default: str) -> _Accepted:
    return _number(1, _LARGE, "milliseconds, a whole number above 0", default)


def _size(default: str) -> _Accepted:
    return _number(1, _LARGE, "a whole number above 0", default)


def _accepted(environ: Environment) -> Iterator[tuple[str, _Accepted | _Component]]:
    """The variables, each with what it accepts."""
    for part in ("", *(f"{signal}_" for signal in SIGNALS)):
        yield f"OTEL_EXPORTER_OTLP_{part}PROTOCOL", _one_of("grpc", "http/protobuf", default="http/protobuf")
        yield (
            f"OTEL_EXPORTER_OTLP_{part}TIMEOUT",
            _number(0.001, _LARGE, "seconds, above 0", "10", float),
        )
        yield f"OTEL_EXPORTER_OTLP_{part}COMPRESSION", _COMPRESSION
        for protocol in ("HTTP", "GRPC"):
            yield (
                f"OTEL_PYTHON_EXPORTER_OTLP_{protocol}_{part}CREDENTIAL_PROVIDER",
                _Component("opentelemetry_otlp_credential_provider", "no value"),
            )
        # A gRPC target needs no scheme.
        if "grpc" not in (
            environ.get(f"OTEL_EXPORTER_OTLP_{part}PROTOCOL"),
            environ.get("OTEL_EXPORTER_OTLP_PROTOCOL"),
        ):
            yield (
                f"OTEL_EXPORTER_OTLP_{part}ENDPOINT",
                _Accepted(_is_endpoint, "a URL such as http://collector:4318", "http://localhost:4318"),
            )
    for processor, delay in (("BSP", "5000"), ("BLRP", "1000")):
        yield f"OTEL_{processor}_SCHEDULE_DELAY", _milliseconds(delay)
        yield f"OTEL_{processor}_EXPORT_TIMEOUT", _milliseconds("30000")
        for size in (f"OTEL_{processor}_MAX_QUEUE_SIZE", f"OTEL_{processor}_MAX_EXPORT_BATCH_SIZE"):
            yield size, _size(DEFAULTS[size])
    yield "OTEL_METRIC_EXPORT_INTERVAL", _number(0.001, _LARGE, "milliseconds, above 0", "60000", float)
    yield "OTEL_METRIC_EXPORT_TIMEOUT", _number(0.001, _LARGE, "milliseconds, above 0", "30000", float)
    yield (
        "OTEL_METRICS_EXEMPLAR_FILTER",
        _one_of("trace_based", "always_on", "always_off", default="trace_based"),
    )
    yield "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", _TEMPORALITY
    yield "OTEL_TRACES_SAMPLER", _Component("opentelemetry_traces_sampler", "parentbased_always_on")
    if environ.get("OTEL_TRACES_SAMPLER") in ("traceidratio", "parentbased_traceidratio"):
        yield "OTEL_TRACES_SAMPLER_ARG", _number(0, 1, "a number from 0 to 1", "1.0", float)
    yield "OTEL_PYTHON_ID_GENERATOR", _Component("opentelemetry_id_generator", "random")
    for provider in ("tracer", "meter", "logger"):
        # With a name that there is not, each request would fail.
        yield f"OTEL_PYTHON_{provider.upper()}_PROVIDER", _Component(f"opentelemetry_{provider}_provider", "no value")
    for limit in (
        "ATTRIBUTE_COUNT",
        "ATTRIBUTE_VALUE_LENGTH",
        "SPAN_ATTRIBUTE_COUNT",
        "SPAN_ATTRIBUTE_VALUE_LENGTH",
        "SPAN_EVENT_COUNT",
        "SPAN_LINK_COUNT",
        "EVENT_ATTRIBUTE_COUNT",
        "LINK_ATTRIBUTE_COUNT",
        "LOGRECORD_ATTRIBUTE_COUNT",
        "LOGRECORD_ATTRIBUTE_VALUE_LENGTH",
    ):
        yield f"OTEL_{limit}_LIMIT", _COUNT


def correct(environ: Environment) -> list[str]:
    """Take the values that the SDK cannot use out of the environment.

    Args:
        environ: The environment, which is changed.

    Returns:
        One line for each of them: the variable, its value and what is accepted.
    """
    faults = []
    for signal in SIGNALS:
        faults += _correct_exporters(environ, signal)
    for variable, accepted in _accepted(environ):
        text = environ.get(variable, "")
        if text.strip() and not accepted.is_good(text.strip()):
            faults.append(fault(variable, text, accepted.default, accepted.words))
            if variable == "OTEL_TRACES_SAMPLER_ARG":
                environ[variable] = accepted.default  # the SDK would say that there is none
            else:
                del environ[variable]
        elif text != text.strip():
            environ[variable] = text.strip()
    _leave_providers_to_us(environ)
    faults += _correct_resource(environ)
    faults += _correct_headers(environ)
    for processor in ("BSP", "BLRP"):
        faults += _correct_batch_size(environ, processor)
    faults += _correct_excluded_urls(environ)
    return faults


def without_unreadable_files(environ: Environment) -> list[str]:
    """Take certificates and keys that cannot be read out of the environment: each export would fail at them.

    Args:
        environ: The environment, which is changed.

    Returns:
        One line for each of them.
    """
    faults = []
    for part in ("", *(f"{signal}_" for signal in SIGNALS)):
        for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            variable = f"OTEL_EXPORTER_OTLP_{part}{file}"
            text = environ.get(variable, "").strip()
            if text and not (Path(text).is_file() and os.access(text, os.R_OK)):
                faults.append(fault(variable, text, "no value", "a file that can be read"))
                del environ[variable]
    return faults


def fault(variable: str, text: str, used: str, words: str) -> str:
    """The line on a value that cannot be used.

    Args:
        variable: The variable's name.
        text: Its value.
        used: What is used in its place.
        words: What is accepted.
    """
    return f"{variable}={without_user_info(text)!r} is not accepted, using {used}; accepted: {words}"


def _leave_providers_to_us(environ: Environment) -> None:
    """Let nobody find the SDK's own providers, empty as they come, before they are set up as all other variables say."""
    for provider in ("TRACER", "METER", "LOGGER"):
        if environ.get(f"OTEL_PYTHON_{provider}_PROVIDER", "").strip() in _BUILT_IN_PROVIDERS:
            del environ[f"OTEL_PYTHON_{provider}_PROVIDER"]


def _correct_resource(environ: Environment) -> list[str]:
    """Keep what can be used of lists that the SDK complains about in each process, and of detectors with a traceback."""
    faults = []
    detectors = _Component("opentelemetry_resource_detector", "no value")
    for variable, is_good in (
        ("OTEL_RESOURCE_ATTRIBUTES", _RESOURCE_ATTRIBUTE.fullmatch),
        (_DETECTORS, lambda name: name.strip() == "*" or detectors.is_good(name.strip())),
    ):
        text = environ.get(variable, "")
        parts = [part for part in text.split(",") if part.strip()]
        good = [part for part in parts if is_good(part)]
        if len(good) < len(parts):
            environ[variable] = ",".join(good)
            used = environ[variable].strip() or "no value"
            words = f"* | {detectors.words}" if variable == _DETECTORS else "key=value"
            faults.append(fault(variable, text, used, f"{words}, separated by commas"))
    if not environ.get("OTEL_SERVICE_NAME", "x").strip():
        del environ["OTEL_SERVICE_NAME"]  # the SDK would take blanks for a name
    return faults


def _correct_headers(environ: Environment) -> list[str]:
    """Keep the headers of exports that can be sent; no value of them is ever shown."""
    faults = []
    for part in ("", *(f"{signal}_" for signal in SIGNALS)):
        variable = f"OTEL_EXPORTER_OTLP_{part}HEADERS"
        entries = [entry.strip() for entry in environ.get(variable, "").split(",") if entry.strip()]
        good = [entry for entry in entries if _HEADER.fullmatch(entry)]
        if len(good) == len(entries):
            continue
        environ[variable] = ",".join(good)
        if not good:
            del environ[variable]
        numbers = ", ".join(str(number) for number, entry in enumerate(entries, 1) if entry not in good)
        accepted = "name=value, separated by commas, values percent-encoded"
        faults.append(f"{variable}: entry {numbers} is not accepted and left out; accepted: {accepted}")
    return faults


def _correct_exporters(environ: Environment, signal: str) -> list[str]:
    """Keep the exporters that there are; one that there is not costs the others nothing."""
    variable = f"OTEL_{signal}_EXPORTER"
    text = environ.get(variable, "")
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    if variable not in environ:
        return []
    if not chosen or [name.lower() for name in chosen] == ["none"]:
        environ[variable] = ",".join(chosen)
        return []
    known = {"otlp"}
    if not known.issuperset(chosen):
        known |= _installed(f"opentelemetry_{signal.lower()}_exporter")
    good = [name for name in chosen if name in known]
    environ[variable] = ",".join(good) or "otlp"  # the SDK takes what is between two commas for a name
    if len(good) == len(chosen):
        return []
    return [fault(variable, text, environ[variable], f"{' | '.join(sorted(known))}, separated by commas, or none")]


def _correct_excluded_urls(environ: Environment) -> list[str]:
    """Contrib's instrumentations compile these while they are imported, and then cannot be imported."""
    faults = []
    for variable in [name for name in environ if name.startswith("OTEL_PYTHON_") and name.endswith("EXCLUDED_URLS")]:
        text = environ[variable]
        try:
            re.compile("|".join(pattern.strip() for pattern in text.split(",")))
        except re.error:
            faults.append(fault(variable, text, "no value", "regular expressions, separated by commas"))
            del environ[variable]
    return faults


def _correct_batch_size(environ: Environment, processor: str) -> list[str]:
    queue, batch = f"OTEL_{processor}_MAX_QUEUE_SIZE", f"OTEL_{processor}_MAX_EXPORT_BATCH_SIZE"
    queue_size, chosen = int(environ.get(queue) or DEFAULTS[queue]), environ.get(batch) or DEFAULTS[batch]
    if int(chosen) <= queue_size:
        return []
    environ[batch] = str(queue_size)
    if chosen == DEFAULTS[batch]:
        return []  # a small queue, and a batch size that nobody has chosen
    return [fault(batch, chosen, str(queue_size), f"a whole number, at most {queue} ({queue_size})")]
