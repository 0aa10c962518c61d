"""Where the three signals go: the exporters that the variables ask for, and whether OTLP endpoints answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from otel_search.doctor.reach import Answer, Tls, ask, speaks_tls, step_of

SIGNALS = ("traces", "metrics", "logs")

_SERVICES = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_GRPC_TIMEOUT = 4.0


@dataclass(frozen=True)
class Target:
    """Where an OTLP exporter sends one signal.

    Attributes:
        signal: `traces`, `metrics` or `logs`.
        protocol: `http/protobuf` or `grpc`.
        url: For HTTP the whole of it, for gRPC without a path.
        variable: The variable that it comes from, or empty for the default.
        headers: What is sent with each batch.
        tls: What to trust and to show.
        secure: Whether gRPC uses TLS.
    """

    signal: str
    protocol: str
    url: str
    variable: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: Tls = field(default_factory=Tls)
    secure: bool = False

    @property
    def grpc_method(self) -> str:
        """The full name of the gRPC method."""
        return _SERVICES[self.signal]

    @property
    def host(self) -> str:
        """The host's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port."""
        parts = urlsplit(self.url)
        try:
            return parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return 0


def chosen(environ: Mapping[str, str], signal: str) -> tuple[str, ...]:
    """The exporters of a signal, as a variable names them."""
    return tuple(name.strip() for name in environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").split(",") if name.strip())


def targets(environ: Mapping[str, str]) -> list[Target]:
    """Where the OTLP exporters send, in an environment whose defaults are set."""
    return [
        _target(environ, signal)
        for signal in SIGNALS
        if any(name.startswith("otlp") for name in chosen(environ, signal))
    ]


def _target(environ: Mapping[str, str], signal: str) -> Target:
    def value(name: str) -> tuple[str, str]:
        for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            text = environ.get(variable, "").strip()
            if text:
                return text, variable
        return "", ""

    named = {"otlp_proto_grpc": "grpc", "otlp_proto_http": "http/protobuf"}
    protocol = next((named[name] for name in chosen(environ, signal) if name in named), value("PROTOCOL")[0])
    protocol = "grpc" if protocol == "grpc" else "http/protobuf"
    endpoint, variable = value("ENDPOINT")
    secure = False
    if protocol == "grpc":
        url = endpoint or "http://localhost:4317"
        insecure = value("INSECURE")[0].lower() == "true"
        if "://" not in url:
            url = f"{'http' if insecure else 'https'}://{url}"
        secure = url.startswith("https") and not insecure
    elif endpoint and variable != "OTEL_EXPORTER_OTLP_ENDPOINT":
        url = endpoint
    else:
        url = f"{(endpoint or 'http://localhost:4318').rstrip('/')}/v1/{signal}"
    return Target(
        signal,
        protocol,
        url,
        variable,
        parse_env_headers(value("HEADERS")[0], liberal=True),
        Tls(value("CERTIFICATE")[0], value("CLIENT_CERTIFICATE")[0], value("CLIENT_KEY")[0]),
        secure,
    )


@dataclass(frozen=True)
class Probe:
    """What came of an empty batch.

    Attributes:
        problem: `url`, `name`, `refused`, `unreachable`, `hangs`, `files`, `tls`, `tls-wanted`, `is-grpc`, `is-http`,
            `unauthorized`, `wrong-path`, `not-otlp`, `refuses`, or empty if it was accepted.
        detail: What is so, in words.
        answer: The HTTP answer, if there was one.
    """

    problem: str
    detail: str
    answer: Answer = field(default_factory=Answer)


def probe(target: Target) -> Probe:
    """Send an empty batch, as the exporter would send a full one."""
    return _probe_grpc(target) if target.protocol == "grpc" else _probe_http(target)


def _probe_http(target: Target) -> Probe:
    headers = {"content-type": "application/x-protobuf", "user-agent": "otel-search-doctor", **target.headers}
    answer = ask(target.url, method="POST", headers=headers, body=b"", tls=target.tls)
    if answer.failed == "protocol":
        if target.url.startswith("http:") and speaks_tls(target.host, target.port):
            return Probe("tls-wanted", "it speaks TLS, and the URL says http://")
        if _grpc_answers(target):
            return Probe("is-grpc", "it speaks gRPC, and the exporter HTTP")
        return Probe("not-otlp", answer.detail)
    if answer.failed:
        return Probe(answer.failed, answer.detail)
    said = _first_words(answer)
    kind = answer.headers.get("content-type", "")
    if answer.status == 400 and "HTTPS" in said:
        return Probe("tls-wanted", "it speaks TLS, and the URL says http://", answer)
    if answer.status in (401, 403):
        return Probe("unauthorized", f"status {answer.status}", answer)
    if answer.status in (404, 405) or 300 <= answer.status < 400:
        where = answer.headers.get("location", "")
        return Probe("wrong-path", f"status {answer.status}{where and f', to {where}'}", answer)
    if not 200 <= answer.status < 300:
        return Probe("refuses", f"status {answer.status}{said and f': {said}'}", answer)
    if kind.startswith("text/html"):
        return Probe("not-otlp", f"it answers with {kind}", answer)
    return Probe("", f"accepted an empty batch (status {answer.status})", answer)


def _probe_grpc(target: Target) -> Probe:
    if not target.host or not target.port:
        return Probe("url", "no host, or no port that there is")
    step = step_of(target.host, target.port)
    if step.failed:
        return Probe(step.failed, step.detail)
    code, detail = call(target, secure=target.secure)
    if code == "OK":
        return Probe("", "accepted an empty batch")
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return Probe("unauthorized", f"{code}: {detail}")
    if code == "FILES":
        return Probe("files", detail)
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"):
        if not target.secure and speaks_tls(target.host, target.port):
            return Probe("tls-wanted", "it speaks TLS, and the exporter does not")
        plain = ask(f"http://{target.host}:{target.port}/")
        if not plain.failed:
            return Probe("is-http", "it speaks HTTP/1, and the exporter gRPC")
        if target.secure:
            return Probe("tls", detail)
    if code == "UNIMPLEMENTED":
        return Probe("not-otlp", f"it speaks gRPC, but not OTLP: {detail}")
    return Probe("hangs" if code == "DEADLINE_EXCEEDED" else "refuses", f"{code}: {detail}")


def _grpc_answers(target: Target) -> bool:
    code, _ = call(target, secure=target.url.startswith("https"))
    return code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "FILES", "INTERNAL", "UNKNOWN")


def call(target: Target, *, secure: bool, body: bytes = b"") -> tuple[str, str]:
    """Send a batch by gRPC.

    Args:
        target: Where to.
        secure: Whether by TLS.
        body: The batch.

    Returns:
        The name of the status code and its details; `FILES` if a certificate cannot be read.
    """
    import grpc

    address = f"{target.host}:{target.port}"
    if secure:
        try:
            parts = [_read(path) for path in (target.tls.authorities, target.tls.key, target.tls.certificate)]
        except OSError as error:
            return "FILES", f"{error.filename}: {error.strerror}"
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*parts))
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        export = channel.unary_unary(target.grpc_method)
        metadata = [(name.lower(), value) for name, value in target.headers.items()]
        try:
            export(body, timeout=_GRPC_TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name, str(error.details())[:200]
        except ValueError as error:
            return "INTERNAL", str(error)
    return "OK", ""


def _read(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:  # noqa: PTH123 - its error names the file
        return file.read()


def _first_words(answer: Answer) -> str:
    text = answer.body[:300].decode("utf-8", "replace")
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    return " ".join(words)[:160]
