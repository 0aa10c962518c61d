"""Mails against real servers: what goes wrong is said, and takes no longer than it may."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from otel_search.alerts import mail
from otel_search.alerts.mail import DeliveryError, Server, _Attempt
from otel_search.alerts.states import Notification
from tests.alerts.mail_server import MailServer, server_context, silent
from tests.service import free_port

TO = ("one@example.org", "two@example.org")


def notification(**changes: Any) -> Notification:
    known: dict[str, Any] = {
        "key": "HighErrorRate{}",
        "rule": "HighErrorRate",
        "severity": "critical",
        "status": "firing",
        "labels": {},
        "summary": "12% of the requests to shop fail",
        "value": 0.12,
        "started": 1_000_000.0,
        "ended": 0.0,
        "recipients": TO,
        "runbook": "docs/alerts.md#higherrorrate",
        "trace": "0af7651916cd43dd8448eb211c80319c",
    }
    return Notification(**{**known, **changes})


def send(server: Server, **changes: Any) -> None:
    mail.send(server, mail.message(notification(**changes), "shop@example.org", "shop"))


def plain(port: int, **options: Any) -> Server:
    return Server("127.0.0.1", port, "plain", **options)


def failure(server: Server) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(server)
    return caught.value


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def test_a_mail_says_what_is_the_matter() -> None:
    with MailServer() as server:
        send(plain(server.port), suppressed=3, labels={"search_health_component": "disk"})
    (received,) = server.mails
    assert received["Subject"] == "[CRITICAL] shop: HighErrorRate: 12% of the requests to shop fail"
    assert (received["From"], received["To"]) == ("shop@example.org", ", ".join(TO))
    assert received["Auto-Submitted"] == "auto-generated"
    text = received.get_content()
    for line in (
        "12% of the requests to shop fail",
        "status:   firing",
        "severity: critical",
        "search_health_component: disk",
        "since:    1970-01-12T13:46:40+00:00",
        "trace:    0af7651916cd43dd8448eb211c80319c",
        "runbook:  docs/alerts.md#higherrorrate",
        "It came and went 3 times before, within the cooldown, without a mail.",
    ):
        assert line in text.splitlines()


def test_the_end_of_an_alert_is_in_the_same_conversation() -> None:
    with MailServer() as server:
        send(plain(server.port))
        send(plain(server.port), status="resolved", ended=1_000_060.0)
    begin, end = server.mails
    assert end["Subject"].startswith("[RESOLVED] shop: HighErrorRate")
    assert "until:    1970-01-12T13:47:40+00:00" in end.get_content().splitlines()
    assert begin["References"] == end["References"]


def test_a_label_forges_no_header_and_no_line() -> None:
    with MailServer() as server:
        send(plain(server.port), summary="x\r\nBcc: all@example.org\n\nbody", labels={"a": "1\nstatus:   resolved"})
    (received,) = server.mails
    assert received["Bcc"] is None
    assert "status:   resolved" not in received.get_content().splitlines()


def test_starttls_and_login(authority: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    context = server_context(authority.issue_cert("127.0.0.1"))
    options: dict[str, Any] = {"username": "shop", "ca_certs": ca_file}
    with MailServer(tls_context=context, require_starttls=True, login=("shop", "s3cret")) as server:
        send(Server("127.0.0.1", server.port, password="s3cret", **options))
        send(Server("127.0.0.1", server.port, password_file=str(tmp_path / "password"), **options))
        assert len(server.mails) == 2
        wrong = failure(Server("127.0.0.1", server.port, password="guess", **options))
        assert wrong.permanent
        assert "refuses the login of 'shop': 535" in str(wrong)
        assert "guess" not in str(wrong)
        missing = failure(Server("127.0.0.1", server.port, "plain"))
        assert str(missing).endswith("it wants STARTTLS (OTEL_SEARCH_ALERTS_SMTP_SECURITY=starttls)")
        nobody = failure(Server("127.0.0.1", server.port, ca_certs=ca_file))
        assert str(nobody).endswith("it wants a login (OTEL_SEARCH_ALERTS_SMTP_USERNAME)")
        assert len(server.mails) == 2


def test_tls_from_the_beginning(authority: trustme.CA, ca_file: str) -> None:
    with MailServer(ssl_context=server_context(authority.issue_cert("127.0.0.1"))) as server:
        send(Server("127.0.0.1", server.port, "tls", ca_certs=ca_file))
        assert len(server.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_is_not_trusted_gets_no_mail(authority: trustme.CA, ca_file: str, security: Any) -> None:
    stranger = server_context(trustme.CA().issue_cert("127.0.0.1"))
    other_name = server_context(authority.issue_cert("mail.example.org"))
    for context, reason in ((stranger, "unable to get local issuer certificate"), (other_name, "IP address mismatch")):
        options: dict[str, Any] = {"ssl_context": context} if security == "tls" else {"tls_context": context}
        with MailServer(**options) as server:
            error = failure(Server("127.0.0.1", server.port, security, ca_certs=ca_file, username="a", password="b"))
            assert "is not trusted: " in str(error)
            assert reason in str(error)
            assert "OTEL_SEARCH_ALERTS_SMTP_CA_CERTS" in str(error)
            assert error.permanent
            assert not server.mails


def test_a_server_without_starttls_gets_no_password() -> None:
    with MailServer() as server:
        error = failure(Server("127.0.0.1", server.port, "starttls", username="shop", password="s3cret"))
        assert "has no STARTTLS (OTEL_SEARCH_ALERTS_SMTP_SECURITY)" in str(error)
        assert error.permanent


def test_a_server_that_speaks_no_tls_says_so() -> None:
    with MailServer() as server:
        assert "does not speak TLS as asked" in str(failure(Server("127.0.0.1", server.port, "tls")))


@pytest.mark.parametrize("answer", [b"", b"2", b"220-wait\r\n"], ids=["silent", "trickling", "talkative"])
def test_a_server_that_hangs_holds_nobody_longer_than_the_timeout(answer: bytes) -> None:
    with silent(answer) as port:
        began = time.monotonic()
        error = failure(plain(port, timeout=0.5))
        # Its words come more often than the timeout: only a bound on all of it ends this.
        assert time.monotonic() - began < 10
    assert "0.5 s (OTEL_SEARCH_ALERTS_SMTP_TIMEOUT)" in str(error)
    assert not error.permanent


def test_the_timeout_is_said_whichever_of_two_clocks_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Attempt, "_cut", lambda _: None)  # a machine so busy that smtplib's own is
    with silent() as port:
        error = failure(plain(port, timeout=0.2))
    assert str(error).endswith(" does not answer within 0.2 s (OTEL_SEARCH_ALERTS_SMTP_TIMEOUT)")
    assert not error.permanent


def test_nobody_listens() -> None:
    error = failure(plain(free_port()))
    assert str(error).endswith("refuses the connection")
    assert not error.permanent


def test_a_name_that_does_not_resolve() -> None:
    error = failure(Server("mail.invalid", 25, "plain"))
    assert "mail.invalid:25" in str(error)
    assert not error.permanent


def test_recipients_that_are_refused_are_named_and_the_others_get_their_mail_once() -> None:
    with MailServer(refuse=(TO[1],)) as server:
        error = failure(plain(server.port))
        assert "refuses recipients: two@example.org: 550 5.1.1 no such mailbox" in str(error)
        assert error.permanent, "another attempt would be a second mail to the first"
        assert len(server.mails) == 1


def test_what_passes_by_itself_is_worth_another_attempt() -> None:
    with MailServer(fail=1) as server:
        error = failure(plain(server.port))
        assert "451 4.3.0 not now" in str(error)
        assert not error.permanent


@pytest.mark.parametrize("option", ["password_file", "ca_certs"])
@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["missing", "binary"])
def test_files_that_cannot_be_used_are_named(tmp_path: Path, option: str, content: bytes | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    error = failure(plain(1, **{option: str(file)}))
    assert error.permanent
    assert str(error).startswith(f"{file} cannot be used for 127.0.0.1:1: ")
