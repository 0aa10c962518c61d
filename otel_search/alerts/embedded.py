"""Alerts in the process, for those without a Prometheus: one evaluator for all workers of a server."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from otel_search import __version__, semconv
from otel_search.alerts import mail, webhook
from otel_search.alerts.election import Lock, Place, free_place
from otel_search.alerts.engine import Engine, Outcome
from otel_search.alerts.lines import say
from otel_search.alerts.outbox import Outbox
from otel_search.alerts.own import AlertRule, rules_of
from otel_search.alerts.rules import Rule
from otel_search.alerts.saved import State, UnreadableError
from otel_search.alerts.states import Alerts, Notification
from otel_search.aside import in_thread
from otel_search.metrics import Merged, shared_directory
from otel_search.metrics.group import private_directory
from otel_search.settings import Settings

_SAVE_SECONDS = 60.0
_END_SECONDS = 1.0
_SHORTEST = 0.1
_VERSION = 1


class EmbeddedAlerts:
    """The alerts of this server, evaluated by one of its workers.

    Args:
        effective: The settings.
        merged: Reads the metrics of all workers.
        service: The name of the service.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        effective: Settings,
        merged: Callable[[], Merged],
        service: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = effective
        self._merged = merged
        self._service = service
        self._clock = clock
        self._interval = max(_SHORTEST, effective.alerts_interval)
        self._ended = threading.Event()
        self._thread: Future[None] | None = None
        self._lock: Lock | None = None
        self._place: Place | None = None
        self._engine: Engine | None = None
        self._outboxes: list[Outbox] = []
        semconv.ALERTS_FIRING.observed_on(metrics.get_meter(semconv.SCOPE, __version__), self._firing)

    def begin(self) -> None:
        """Evaluate from now on, if no other worker does, and as soon as none does."""
        self._ended.clear()
        self._thread = in_thread(self._run, "alerts")

    def end(self) -> None:
        """Leave the evaluation to another worker, or to the next start; takes a second at most."""
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.result(_END_SECONDS)
            except Exception as error:
                say(logging.DEBUG, "the evaluation of alerts did not end in time: %r", error)

    def _run(self) -> None:
        try:
            if self._elected():
                self._evaluate()
        except Exception as error:
            say(logging.ERROR, "alerts are not evaluated any more: %s: %s", type(error).__name__, error)
        finally:
            for outbox in self._outboxes:
                outbox.end()
            if self._lock is not None:
                self._lock.release()
            if self._place is not None:
                self._place.leave()
            self._engine = None

    def _elected(self) -> bool:
        """Wait until it is up to this worker; false, if the server ends before."""
        wanted = self._settings.alerts_state
        agreed = True
        try:
            shared = shared_directory()
        except OSError as error:
            if not wanted:
                say(logging.ERROR, "alerts are not evaluated: the workers have no directory to share: %s", error)
                return False
            shared, agreed = None, False
        self._lock = Lock(shared / "alerts.lock") if shared is not None else None
        while self._lock is not None and not self._lock.take():
            if self._ended.wait(self._interval):
                return False
        if not wanted:
            try:
                self._place = free_place(private_directory() / "alerts", self._service)
            except OSError as error:
                say(logging.WARNING, "alerts begin anew after a restart: there is no place for their state: %s", error)
            return True
        path = Path(wanted)
        try:
            return self._takes(path)
        except OSError as error:
            reason = error.strerror or error
            if not agreed:
                say(
                    logging.ERROR,
                    "alerts are not evaluated: the workers share neither a directory nor %s: %s",
                    path,
                    reason,
                )
                return False
            # Alerts without a memory are better than none.
            say(
                logging.WARNING,
                "OTEL_SEARCH_ALERTS_STATE=%s cannot be used, a restart forgets all alerts: %s",
                path,
                reason,
            )
            return True

    def _takes(self, path: Path) -> bool:
        """Wait for the place that the settings name; false, if the server ends before.

        Raises:
            OSError: It cannot be used.
        """
        lock = Lock(path.with_name(f"{path.name}.lock"))
        said = False
        while not lock.take():
            if not said:
                said = True
                say(logging.INFO, "alerts are evaluated by the process that uses OTEL_SEARCH_ALERTS_STATE=%s", path)
            if self._ended.wait(self._interval):
                return False
        self._place = Place(lock, State(path))
        return True

    def _evaluate(self) -> None:
        engine = self._engine = self._prepared()
        since_start = self._lock is None or self._lock.is_first()
        self._restore(engine, since_start=since_start)
        saved = failed = 0.0
        while True:
            began = time.monotonic()
            try:
                outcome = engine.look(self._clock(), self._merged(), since_start=since_start)
                since_start = False
                if self._told(outcome) or began - saved >= _SAVE_SECONDS:
                    saved = began
                    self._save(engine)
            except Exception as error:
                if began - failed >= _SAVE_SECONDS:
                    failed = began
                    say(logging.WARNING, "alerts could not be evaluated: %s: %s", type(error).__name__, error)
            if self._ended.wait(max(_SHORTEST, self._interval - (time.monotonic() - began))):
                self._save(engine)
                return

    def _prepared(self) -> Engine:
        settings = self._settings
        rules = self._rules()
        alerts = Alerts(
            cooldown=settings.alerts_cooldown,
            repeat=settings.alerts_repeat,
            service=self._service,
            runbooks=settings.alerts_runbooks,
            recipients=settings.alerts_to,
        )
        self._outboxes = list(_outboxes(settings, self._service, self._kept))
        engine = Engine(lambda: (*rules, *_scaled(AlertRule.declared(), settings.alerts_time_scale)), alerts)
        told = [outbox.receiver for outbox in self._outboxes]
        how = " and ".join(told) or "log lines alone"
        say(
            logging.INFO,
            "alerts: %d rules are evaluated every %g s and told by %s",
            len(engine.rules),
            self._interval,
            how,
        )
        if "mail" in told:
            try:
                mail.read_files(mail_server(settings))
            except mail.DeliveryError as error:
                say(logging.WARNING, "no mail can be sent: %s", error)
        if "mail" in told and not settings.alerts_to:
            say(logging.WARNING, "OTEL_SEARCH_ALERTS_TO is not set: only rules that name recipients send mails")
        return engine

    def _rules(self) -> tuple[Rule, ...]:
        settings = self._settings
        objective = settings.alerts_objective / 100
        try:
            rules = rules_of(objective, settings.alerts_rules)
        except Exception as error:
            reason = f"{error}"
            if isinstance(error, ModuleNotFoundError):
                reason = f"{error.name} is needed: pip install 'otel-search[alerts]'"
            say(
                logging.ERROR,
                "OTEL_SEARCH_ALERTS_RULES=%s cannot be used, only otel-search's own rules are: %s",
                settings.alerts_rules,
                reason,
            )
            rules = rules_of(objective)
        return tuple(_scaled(rules, settings.alerts_time_scale))

    def _told(self, outcome: Outcome) -> bool:
        """Hand over what is to be told; whether anything has changed."""
        for outbox in self._outboxes:
            mails = outbox.receiver == "mail"
            outbox.put([each for each in outcome.notifications if each.recipients or not mails])
        return bool(outcome.changed or outcome.notifications)

    def _save(self, engine: Engine) -> None:
        self._write("", {"version": _VERSION, "service": self._service, "saved": self._clock(), **engine.state()})

    def _kept(self, receiver: str) -> Callable[[list[Any]], None]:
        return lambda waiting: self._write(receiver, {"version": _VERSION, "waiting": waiting})

    def _write(self, part: str, state: dict[str, Any]) -> None:
        if self._place is not None:
            self._place.keep(part, state)

    def _restore(self, engine: Engine, *, since_start: bool) -> None:
        if self._place is None:
            return
        state = self._place.state
        if _gone_on(state, engine.restore, service=self._service):
            for outbox in self._outboxes:
                _gone_on(state.part(outbox.receiver), _waiting(outbox))
            how = "before the restart" if since_start else "by the worker before"
            say(logging.DEBUG, "alerts go on from what was known %s, process %d", how, os.getpid())

    def _firing(self, _: CallbackOptions) -> Iterable[Observation]:
        engine = self._engine
        if engine is None:
            return []
        return [
            Observation(count, {semconv.ALERT_NAME: name, semconv.ALERT_SEVERITY: severity})
            for (name, severity), count in engine.firing().items()
        ]


def mail_server(settings: Settings) -> mail.Server:
    """The mail server that the settings name."""
    return mail.Server(
        host=settings.alerts_smtp_host,
        port=settings.alerts_smtp_port or 0,
        security=settings.alerts_smtp_security,
        username=settings.alerts_smtp_username,
        password=settings.alerts_smtp_password,
        password_file=settings.alerts_smtp_password_file,
        ca_certs=settings.alerts_smtp_ca_certs,
        timeout=max(1.0, settings.alerts_smtp_timeout),
    )


def _gone_on(state: State, restore: Callable[[dict[str, Any]], None], **of: str) -> bool:
    """Whether there was something to go on with in a file; what cannot be used is said, once."""
    try:
        left = state.read(version=_VERSION, **of)
        if left:
            restore(left)
    except UnreadableError as error:
        say(logging.WARNING, "what was known of alerts in %s cannot be used, they begin anew: %s", state.path, error)
        return False
    return bool(left)


def _waiting(outbox: Outbox) -> Callable[[dict[str, Any]], None]:
    return lambda left: outbox.restore(left.get("waiting"))


def _outboxes(settings: Settings, service: str, keep: Callable[[str], Callable[[list[Any]], None]]) -> Iterable[Outbox]:
    if settings.alerts_smtp_host:
        server = mail_server(settings)
        sender = settings.alerts_from or "otel-search@localhost"

        def send(notification: Notification) -> None:
            mail.send(server, mail.message(notification, sender, service))

        yield Outbox("mail", send, server.timeout, keep("mail"))
    if settings.alerts_webhook_url:
        url, timeout = settings.alerts_webhook_url, max(1.0, settings.alerts_smtp_timeout)
        yield Outbox(
            "webhook",
            lambda notification: webhook.post(url, webhook.payload(notification, service), timeout),
            timeout,
            keep("webhook"),
        )


def _scaled(rules: Iterable[Rule], factor: float) -> Iterable[Rule]:
    return rules if factor == 1 else [rule.scaled(factor) for rule in rules]
