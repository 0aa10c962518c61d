"""A real SMTP server on loopback, as good or as bad as a test wants it."""

from __future__ import annotations

import email
import email.policy
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session

from tests.service import free_port


class MailServer:
    """Keeps the mails that it takes.

    Args:
        refuse: Addresses that it does not know.
        fail: How many mails it turns away for the moment, before it takes one.
        login: The one name and password that it lets in; without, nobody has to log in.
        **options: Of aiosmtpd's controller: `ssl_context`, `tls_context`, `require_starttls`, …
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        refuse: tuple[str, ...] = (),
        fail: int = 0,
        login: tuple[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.attempts = 0
        self.port = port or free_port()
        self._refuse, self._fail, self._login = refuse, fail, login
        if login is not None:
            options |= {"authenticator": self._authenticate, "auth_required": True}
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **options)

    def _authenticate(self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self._login, handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self._refuse:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        self.attempts += 1
        if self.attempts <= self._fail:
            return "451 4.3.0 not now"
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 OK"

    def subjects(self, *words: str) -> list[str]:
        """The subjects in which all of these words are, in the order of their mails."""
        return [subject for mail in self.mails if all(word in (subject := str(mail["Subject"])) for word in words)]

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


@contextmanager
def silent(answer: bytes = b"", pause: float = 0.05) -> Iterator[int]:
    """The port of a server that takes connections and says nothing, or one byte after the other for ever."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    threads: list[threading.Thread] = []

    def hold(connection: socket.socket) -> None:
        with connection:
            while not ended.wait(pause):
                try:
                    if answer:
                        connection.send(answer)
                except OSError:
                    return

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=hold, args=(connection,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        ended.set()
        acceptor.join()
        for thread in threads:
            thread.join()
        listener.close()


def server_context(certificate: Any) -> ssl.SSLContext:
    """A server's TLS with a certificate of `trustme`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context
