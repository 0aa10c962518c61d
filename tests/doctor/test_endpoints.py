"""Each way in which an OTLP endpoint can fail, made to fail."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import grpc
import pytest
import trustme

from otel_search.viewer.receiver import Receiver
from tests.doctor.examined import WELL, findings, only
from tests.doctor.servers import answering, closed, hung, speaking_grpc

TRACES = {**WELL, "OTEL_TRACES_EXPORTER": "otlp"}


def to(port: int, scheme: str = "http", **variables: str) -> dict[str, str]:
    return {**TRACES, "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://127.0.0.1:{port}", **variables}


def by_grpc(port: int, scheme: str = "http") -> dict[str, str]:
    return to(port, scheme, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")


def test_a_receiver_that_is_well_is_no_finding() -> None:
    with Receiver(lambda _: None) as receiver:
        assert set(findings(to(receiver.port))) == {"signal-not-by-otlp"}


def test_a_grpc_receiver_that_is_well_is_no_finding() -> None:
    with speaking_grpc() as port:
        assert set(findings(by_grpc(port))) == {"signal-not-by-otlp"}


def test_a_closed_port() -> None:
    with closed() as port:
        text = only(to(port), "endpoint-refused")
    assert text == (
        f"traces go to http://127.0.0.1:{port} (OTEL_EXPORTER_OTLP_ENDPOINT): nothing listens on 127.0.0.1:{port}"
    )


def test_signals_that_share_an_endpoint_share_a_line() -> None:
    with closed() as port:
        text = only({**to(port), "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}, "endpoint-refused")
    assert text.startswith("traces, metrics, logs go to ")
    assert "\n" not in text


def test_a_server_that_never_answers() -> None:
    with hung() as port:
        assert "connected, but no answer in 4 s" in only(to(port), "endpoint-hangs")


def test_a_name_that_is_not_known() -> None:
    environ = {**TRACES, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector.invalid:4318/v1/traces"}
    text = only(environ, "endpoint-name")
    assert "traces go to http://collector.invalid:4318/v1/traces (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)" in text


def test_an_address_that_there_is_no_way_to() -> None:
    environ = {**TRACES, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://255.255.255.255:4318"}
    assert "255.255.255.255:4318: " in only(environ, "endpoint-unreachable")


@pytest.mark.parametrize("endpoint", ["http://:4317", "collector:99999"])
def test_an_endpoint_that_is_no_url(endpoint: str) -> None:
    environ = {**TRACES, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    assert "no host, or no port that there is" in only(environ, "endpoint-url")


def test_an_endpoint_that_http_exporters_cannot_use_is_replaced_by_the_default_and_said() -> None:
    found = findings({**TRACES, "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"})
    assert "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318' is not accepted" in found["value-not-accepted"][0]


@pytest.mark.parametrize("status", [401, 403])
def test_a_receiver_that_wants_to_know_who_sends(status: int) -> None:
    with answering(status) as port:
        assert f"status {status}" in only(to(port), "endpoint-unauthorized")


def test_a_grpc_receiver_that_wants_to_know_who_sends() -> None:
    with speaking_grpc(code=grpc.StatusCode.UNAUTHENTICATED) as port:
        assert "UNAUTHENTICATED" in only(by_grpc(port), "endpoint-unauthorized")


def test_a_path_that_is_not_there() -> None:
    with answering(404) as port:
        environ = {**TRACES, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}/"}
        assert "status 404" in only(environ, "endpoint-path")


def test_a_redirect() -> None:
    with answering(301, headers={"Location": "https://elsewhere/"}) as port:
        assert "status 301, to https://elsewhere/" in only(to(port), "endpoint-path")


@pytest.mark.parametrize("status", [400, 429, 503])
def test_a_receiver_that_refuses(status: int) -> None:
    with answering(status, b"not now") as port:
        assert f"status {status}: not now" in only(to(port), "endpoint-refuses")


def test_a_web_page() -> None:
    with answering(200, b"<html>", {"Content-Type": "text/html"}) as port:
        assert "text/html" in only(to(port), "endpoint-not-otlp")


def test_grpc_without_otlp() -> None:
    with speaking_grpc(service="Other") as port:
        assert "speaks gRPC, but not OTLP" in only(by_grpc(port), "endpoint-not-otlp")


def test_http_spoken_to_a_grpc_port() -> None:
    with speaking_grpc() as port:
        assert "it speaks gRPC, and the exporter HTTP" in only(to(port), "endpoint-is-grpc")


def test_grpc_spoken_to_an_http_port() -> None:
    with Receiver(lambda _: None) as receiver:
        assert "it speaks HTTP/1, and the exporter gRPC" in only(by_grpc(receiver.port), "endpoint-is-http")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_certificate_that_is_not_trusted(server_tls: ssl.SSLContext) -> None:
    with answering(tls=server_tls) as port:
        assert "its certificate is not trusted" in only(to(port, "https"), "endpoint-tls")


def test_a_certificate_that_is_trusted(server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with answering(tls=server_tls) as port:
        trusted = to(port, "https", OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "ca.pem"))
        assert set(findings(trusted)) == {"signal-not-by-otlp"}


def test_a_certificate_that_cannot_be_read(server_tls: ssl.SSLContext) -> None:
    with answering(tls=server_tls) as port:
        environ = to(port, "https", OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such/ca.pem")
        assert "/no/such/ca.pem: No such file or directory" in only(environ, "certificate-unreadable")


def test_tls_spoken_to_a_plain_port() -> None:
    with answering() as port:
        assert "it does not speak TLS" in only(to(port, "https"), "endpoint-tls")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_no_tls_spoken_to_a_tls_port(server_tls: ssl.SSLContext, protocol: str) -> None:
    with answering(tls=server_tls) as port:
        text = only(to(port, OTEL_EXPORTER_OTLP_PROTOCOL=protocol), "endpoint-wants-tls")
    assert "it speaks TLS" in text


def test_a_proxy_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://user:hunter2@proxy:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Receiver(lambda _: None) as receiver:
        text = only(to(receiver.port), "proxy-between")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert "proxy-between" not in findings(to(receiver.port))
    assert "telemetry for 127.0.0.1 goes through the proxy" in text
    assert "hunter2" not in text


def test_headers_are_sent_and_not_shown() -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(answering(401, b"who is hunter2?"))
        found = findings(to(port, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hunter2"))
    assert "hunter2" not in str(found)
