"""Whether the OTLP endpoints answer, each way of not answering for itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.request import getproxies_environment, proxy_bypass

from otel_search.doctor.case import Case
from otel_search.doctor.finding import Severity, check


@check(
    "endpoint-url",
    Severity.ERROR,
    "The endpoint is no URL",
    "set the endpoint to a URL such as http://collector:4318",
)
def endpoint_url(case: Case) -> Iterable[str]:
    """Not even a URL."""
    return case.problems("url")


@check(
    "endpoint-name",
    Severity.ERROR,
    "The endpoint's host name is not known",
    "correct the host name; in a container, name the Collector's service and not localhost",
)
def endpoint_name(case: Case) -> Iterable[str]:
    """DNS."""
    return case.problems("name")


@check(
    "endpoint-refused",
    Severity.ERROR,
    "Nothing listens at the endpoint",
    "start a receiver there (`otel-search viewer` is one), or set OTEL_EXPORTER_OTLP_ENDPOINT to where one is",
)
def endpoint_refused(case: Case) -> Iterable[str]:
    """Connection refused."""
    return case.problems("refused")


@check(
    "endpoint-unreachable",
    Severity.ERROR,
    "There is no way to the endpoint",
    "look at the network between: routes, firewalls, network policies",
)
def endpoint_unreachable(case: Case) -> Iterable[str]:
    """No route."""
    return case.problems("unreachable")


@check(
    "endpoint-hangs",
    Severity.ERROR,
    "The endpoint does not answer",
    "see whether the receiver is well, and whether a firewall swallows the packets",
)
def endpoint_hangs(case: Case) -> Iterable[str]:
    """Neither yes nor no."""
    return case.problems("hangs")


@check(
    "endpoint-tls",
    Severity.ERROR,
    "There is no trusted TLS connection to the endpoint",
    "set OTEL_EXPORTER_OTLP_CERTIFICATE to the authority that signed its certificate, or say http:// if it has no TLS",
)
def endpoint_tls(case: Case) -> Iterable[str]:
    """Not trusted, or no TLS at all."""
    return case.problems("tls")


@check(
    "endpoint-wants-tls",
    Severity.ERROR,
    "The endpoint speaks TLS only",
    "say https:// in OTEL_EXPORTER_OTLP_ENDPOINT",
)
def endpoint_wants_tls(case: Case) -> Iterable[str]:
    """http:// to a TLS port."""
    return case.problems("tls-wanted")


@check(
    "certificate-unreadable",
    Severity.ERROR,
    "A certificate or key for the endpoint cannot be read",
    "correct OTEL_EXPORTER_OTLP_CERTIFICATE, …_CLIENT_CERTIFICATE or …_CLIENT_KEY, or the file's permissions",
)
def certificate_unreadable(case: Case) -> Iterable[str]:
    """Files of the exporter."""
    return case.problems("files")


@check(
    "endpoint-is-grpc",
    Severity.ERROR,
    "The endpoint speaks gRPC, and the exporter HTTP",
    "use the receiver's HTTP port, 4318 as a rule, or set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
)
def endpoint_is_grpc(case: Case) -> Iterable[str]:
    """4317 spoken to in HTTP."""
    return case.problems("is-grpc")


@check(
    "endpoint-is-http",
    Severity.ERROR,
    "The endpoint speaks HTTP, and the exporter gRPC",
    "use the receiver's gRPC port, 4317 as a rule, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
)
def endpoint_is_http(case: Case) -> Iterable[str]:
    """4318 spoken to in gRPC."""
    return case.problems("is-http")


@check(
    "endpoint-unauthorized",
    Severity.ERROR,
    "The endpoint wants to know who sends",
    "set OTEL_EXPORTER_OTLP_HEADERS, for example authorization=Bearer%20…",
)
def endpoint_unauthorized(case: Case) -> Iterable[str]:
    """401 and 403."""
    return case.problems("unauthorized")


@check(
    "endpoint-path",
    Severity.ERROR,
    "There is no OTLP at the endpoint's path",
    "OTEL_EXPORTER_OTLP_ENDPOINT is without /v1/traces, which is added; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is the whole URL",
)
def endpoint_path(case: Case) -> Iterable[str]:
    """404, 405 and redirects, which exporters follow as GET."""
    return case.problems("wrong-path")


@check(
    "endpoint-not-otlp",
    Severity.ERROR,
    "What answers at the endpoint is no OTLP receiver",
    "correct host and port of the endpoint",
)
def endpoint_not_otlp(case: Case) -> Iterable[str]:
    """Some other server."""
    return case.problems("not-otlp")


@check(
    "endpoint-refuses",
    Severity.ERROR,
    "The endpoint refuses an empty batch",
    "see what the receiver logs; 429 and 503 mean that it is overloaded or its own backend is away",
)
def endpoint_refuses(case: Case) -> Iterable[str]:
    """Any other status."""
    return case.problems("refuses")


@check(
    "proxy-between",
    Severity.WARNING,
    "A proxy stands between the exporter and its endpoint",
    "add the endpoint's host to NO_PROXY, if the proxy is not meant for it",
)
def proxy_between(case: Case) -> Iterator[str]:
    """The HTTP exporters obey `HTTP_PROXY`; the doctor does not, and asks directly."""
    proxies = getproxies_environment()
    said = set()
    for target, _ in case.probes:
        proxy = proxies.get(target.url.partition(":")[0])
        if proxy and target.host not in said and not proxy_bypass(target.host):
            said.add(target.host)
            yield case.redactor.text(f"telemetry for {target.host} goes through the proxy {proxy}")
