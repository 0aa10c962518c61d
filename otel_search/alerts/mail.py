"""Mails: what an alert says, and SMTP, within one bound for all of it.

smtplib's timeout bounds each wait for the server's next word, and a server that says a word every
few seconds holds it for ever; the look-up of a name has no bound at all. So an attempt has a thread
of its own, whose connection is cut when its time is over.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import Any, Literal

from otel_search.alerts.states import Notification

Security = Literal["starttls", "tls", "plain"]

PORTS: dict[str, int] = {"starttls": 587, "tls": 465, "plain": 25}


class DeliveryError(Exception):
    """A notification was not delivered.

    Attributes:
        permanent: Whether another attempt would end the same way.
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


@dataclass(frozen=True)
class Server:
    """Where mails are handed in.

    Attributes:
        security: `starttls` and `tls` check the server's certificate and never go on without encryption.
        password_file: A file with the password, read at each attempt: it may be replaced.
        timeout: Seconds that a whole attempt may take.
    """

    host: str
    port: int = 0
    security: Security = "starttls"
    username: str = ""
    password: str = ""
    password_file: str = ""
    ca_certs: str = ""
    timeout: float = 10.0

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port or PORTS[self.security]}"


def message(notification: Notification, sender: str, service: str) -> EmailMessage:
    """The mail that tells of an alert.

    Args:
        notification: What to tell.
        sender: The address in `From`.
        service: Whose alert it is.
    """
    resolved = notification.status == "resolved"
    word = "RESOLVED" if resolved else notification.severity.upper()
    begun = _time(notification.started)
    lines = [
        notification.summary,
        "",
        f"alert:    {notification.rule}",
        f"status:   {'resolved' if resolved else 'still firing' if notification.repeated else 'firing'}",
        f"severity: {notification.severity}",
        f"service:  {service}",
        *(f"{name}: {value}" for name, value in sorted(notification.labels.items())),
        f"since:    {begun}",
        *([f"until:    {_time(notification.ended)}"] if resolved else []),
        *([f"trace:    {notification.trace}"] if notification.trace else []),
        *([f"runbook:  {notification.runbook}"] if notification.runbook else []),
    ]
    if notification.suppressed:
        times = "once" if notification.suppressed == 1 else f"{notification.suppressed} times"
        lines += ["", f"It came and went {times} before, within the cooldown, without a mail."]
    mail = EmailMessage()
    mail["Subject"] = _line(f"[{word}] {service}: {notification.rule}: {notification.summary}")[:200]
    mail["From"] = sender
    mail["To"] = ", ".join(notification.recipients)
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain="otel-search.invalid")
    mail["Auto-Submitted"] = "auto-generated"
    # The mails of one alert are one conversation.
    mail["References"] = f"<{notification.fingerprint}@otel-search.invalid>"
    mail["X-Alert-Fingerprint"] = notification.fingerprint
    mail.set_content("\n".join(_line(line) for line in lines) + "\n")
    return mail


def read_files(server: Server) -> tuple[ssl.SSLContext, str]:
    """What the files hold that a server's settings name: the certificate authorities to trust, and the password.

    Raises:
        DeliveryError: One cannot be read.
    """
    password = server.password
    file = server.ca_certs
    try:
        context = ssl.create_default_context(cafile=file or None)
        if server.password_file:
            file = server.password_file
            password = Path(file).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DeliveryError(f"{file} cannot be used for {server.address}: {reason}", permanent=True) from error
    return context, password


def send(server: Server, mail: EmailMessage) -> None:
    """Hand in a mail, within the server's timeout; to be called in a thread of its own.

    Raises:
        DeliveryError: It was not handed in; the message says why, and what to change.
    """
    _Attempt(server).start(mail)


class _Attempt:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._client: smtplib.SMTP | None = None
        self._late = False

    def start(self, mail: EmailMessage) -> None:
        server = self._server
        context, password = read_files(server)
        cut = threading.Timer(server.timeout, self._cut)
        cut.daemon = True
        cut.start()
        try:
            self._exchange(mail, context, password)
        except DeliveryError:
            raise
        except Exception as error:
            if self._late:
                raise DeliveryError(
                    f"{server.address} took longer than {server.timeout:g} s (OTEL_SEARCH_ALERTS_SMTP_TIMEOUT)"
                ) from error
            raise _explained(server, error) from error
        finally:
            cut.cancel()
            if self._client is not None:
                with contextlib.suppress(Exception):
                    self._client.close()

    def _cut(self) -> None:
        self._late = True
        connection = getattr(self._client, "sock", None)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _exchange(self, mail: EmailMessage, context: ssl.SSLContext, password: str) -> None:
        server = self._server
        port = server.port or PORTS[server.security]
        if server.security == "tls":
            self._client = _TlsClient(timeout=server.timeout, context=context)
        else:
            self._client = smtplib.SMTP(timeout=server.timeout)
        client = self._client
        client._host = server.host  # type: ignore[attr-defined]  # whose name the certificate must have
        status, words = client.connect(server.host, port)
        if status != 220:
            raise smtplib.SMTPConnectError(status, words)
        client.ehlo_or_helo_if_needed()
        if server.security == "starttls":
            client.starttls(context=context)
            client.ehlo()
        if server.username:
            client.login(server.username, password)
        refused = client.send_message(mail)
        if refused:
            # The others have it: another attempt would be a second mail to them.
            error = _explained(server, smtplib.SMTPRecipientsRefused(refused))
            raise DeliveryError(str(error), permanent=True)
        # It is handed in: whether the server also says goodbye makes no difference.
        with contextlib.suppress(smtplib.SMTPException, OSError):
            client.quit()


class _TlsClient(smtplib.SMTP_SSL):
    """A client that is there before it connects, so that its connection can be cut."""

    def __init__(self, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(timeout=timeout, context=context)


def _explained(server: Server, error: Exception) -> DeliveryError:
    """What went wrong, in words that say what to change."""
    where = server.address
    match error:
        case ssl.SSLCertVerificationError():
            return DeliveryError(
                f"the certificate of {where} is not trusted: {error.verify_message} (OTEL_SEARCH_ALERTS_SMTP_CA_CERTS)",
                permanent=True,
            )
        case ssl.SSLError():
            return DeliveryError(
                f"{where} does not speak TLS as asked: {error.reason or error} (OTEL_SEARCH_ALERTS_SMTP_SECURITY)",
                permanent=True,
            )
        case smtplib.SMTPAuthenticationError():
            return DeliveryError(
                f"{where} refuses the login of {server.username!r}: {_words(error)}", permanent=error.smtp_code >= 500
            )
        case smtplib.SMTPNotSupportedError():
            asked = "AUTH" if "AUTH" in str(error) else "STARTTLS"
            return DeliveryError(f"{where} has no {asked} (OTEL_SEARCH_ALERTS_SMTP_SECURITY)", permanent=True)
        case smtplib.SMTPRecipientsRefused():
            refused = error.recipients
            codes = {code for code, _ in refused.values()}
            said = "; ".join(f"{to}: {_said(*answer)}" for to, answer in sorted(refused.items()))
            hint = _hint(*next(iter(refused.values()))) if refused else ""
            return DeliveryError(f"{where} refuses recipients: {said}{hint}", permanent=min(codes, default=0) >= 500)
        case smtplib.SMTPResponseException():
            return DeliveryError(
                f"{where} answers {_words(error)}{_hint(error.smtp_code, error.smtp_error)}",
                permanent=error.smtp_code >= 500,
            )
        # What smtplib makes of the end of its own patience.
        case smtplib.SMTPServerDisconnected(__context__=TimeoutError()) | TimeoutError():
            return DeliveryError(
                f"{where} does not answer within {server.timeout:g} s (OTEL_SEARCH_ALERTS_SMTP_TIMEOUT)"
            )
        case smtplib.SMTPServerDisconnected():
            return DeliveryError(f"{where} has ended the connection: {error}")
        case socket.gaierror():
            return DeliveryError(f"the name of {where} is not known: {error.strerror or error}")
        case ConnectionRefusedError():
            return DeliveryError(f"{where} refuses the connection")
    return DeliveryError(f"{where}: {type(error).__name__}: {_line(str(error))[:300]}")


def _words(error: smtplib.SMTPResponseException) -> str:
    return _said(error.smtp_code, error.smtp_error)


def _said(code: int, text: Any) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return _line(f"{code} {words}")[:300]


def _hint(code: int, text: Any) -> str:
    said = _said(code, text).lower()
    if code == 530 and ("starttls" in said or "tls" in said):
        return ": it wants STARTTLS (OTEL_SEARCH_ALERTS_SMTP_SECURITY=starttls)"
    if code in (530, 550) and "auth" in said:
        return ": it wants a login (OTEL_SEARCH_ALERTS_SMTP_USERNAME)"
    return ""


def _line(text: str) -> str:
    """One line: no header and no line of a mail can be forged through a label."""
    return "".join(letter if letter.isprintable() else " " for letter in text).rstrip()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
