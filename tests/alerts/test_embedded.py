"""Alerts in the process as a user has them: workers, restarts, mail servers that do not do what they should."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from otel_search.alerts.election import Lock
from otel_search.alerts.embedded import EmbeddedAlerts
from otel_search.alerts.mail import DeliveryError
from otel_search.alerts.outbox import Outbox
from otel_search.alerts.own import AlertRule
from otel_search.metrics import Merged
from otel_search.settings import Settings
from tests.alerts.mail_server import MailServer, silent
from tests.alerts.test_mail import notification
from tests.service import Service, eventually, free_port, serve

FIRES = "[CRITICAL] test-service: HighErrorRate"
ENDS = "[RESOLVED] test-service: HighErrorRate"


def environment(tmp_path: Path, port: int | None, **more: str) -> dict[str, str]:
    """Five minutes are three seconds."""
    mail = (
        {} if port is None else {"OTEL_SEARCH_ALERTS_SMTP_HOST": "127.0.0.1", "OTEL_SEARCH_ALERTS_SMTP_PORT": str(port)}
    )
    return {
        "TMPDIR": str(tmp_path),
        "OTEL_SEARCH_ACCESS_LOG": "off",
        "OTEL_SEARCH_ALERTS": "embedded",
        "OTEL_SEARCH_ALERTS_SMTP_SECURITY": "plain",
        "OTEL_SEARCH_ALERTS_TO": "ops@example.org",
        "OTEL_SEARCH_ALERTS_TIME_SCALE": "0.01",
        "OTEL_SEARCH_ALERTS_INTERVAL": "0.1",
        **mail,
        **more,
    }


@contextlib.contextmanager
def served(env: dict[str, str], *arguments: str) -> Iterator[Service]:
    with serve("alerting:app", *arguments, env=env, ready="/items/ready") as service:
        yield service


def burst(service: Service, count: int = 40) -> set[str]:
    """Errors; their trace ids."""

    def one(_: int) -> str:
        with contextlib.suppress(httpx.TransportError):  # of a worker that was just killed
            return str(httpx.get(f"{service.url}/status/500", timeout=10).headers["x-trace-id"])
        return ""

    with ThreadPoolExecutor(4) as pool:
        return set(pool.map(one, range(count)))


def workers(service: Service) -> dict[int, psutil.Process]:
    found = psutil.Process(service.process.pid).children(recursive=True)
    return {each.pid: each for each in found if "resource_tracker" not in " ".join(each.cmdline())}


def fired(service: Service) -> list[dict[str, Any]]:
    return service.events(**{"event": "alert firing", "search.alert.name": "HighErrorRate"})


def test_four_workers_send_one_mail_and_one_at_the_end(tmp_path: Path) -> None:
    with MailServer() as mails, served(environment(tmp_path, mails.port), "--workers", "4") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 4)
        assert service.get("/status/200").status_code == 200
        traces = burst(service)
        eventually(lambda: mails.subjects(FIRES))
        line = service.event(**{"event": "alert firing", "search.alert.name": "HighErrorRate"})
        assert line["level"] == "error"
        assert line["trace_id"] in traces, "one trace id through request, metric, line and mail"
        text = next(mail for mail in mails.mails if FIRES in mail["Subject"]).get_content()
        assert f"trace:    {line['trace_id']}" in text.splitlines()
        assert "of the requests to test-service fail (more than 5%)" in text

        def gauge() -> str:
            metrics = service.get("/metrics").text
            return next((each for each in metrics.splitlines() if 'search_alert_name="HighErrorRate"' in each), "")

        assert eventually(lambda: gauge().endswith(" 1.0") and gauge()) == (
            'search_alerts_firing{search_alert_name="HighErrorRate",search_alert_severity="critical"} 1.0'
        )
        eventually(lambda: mails.subjects(ENDS))
        eventually(lambda: gauge().endswith(" 0.0"))
        assert len(mails.subjects("HighErrorRate")) == 2
        sent = 'search_notification_outcome="sent",search_notification_receiver="mail"} 2.0'
        eventually(lambda: sent in service.get("/metrics").text)
        told = service.events(at_least=2, event="alert mail sent")
        assert [event["logger"] for event in told] == ["otel_search.alerts"] * 2


def test_when_the_evaluator_is_killed_another_goes_on_and_tells_nothing_again(tmp_path: Path) -> None:
    with MailServer() as mails, served(environment(tmp_path, mails.port), "--workers", "3") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
        burst(service)
        eventually(lambda: mails.subjects(FIRES))
        (lock,) = tmp_path.glob("otel-search-*/*/alerts.lock")
        holder = next(
            pid
            for pid, each in workers(service).items()
            if str(lock) in [file.path for file in each.open_files()] and not Lock(lock).take() and _holds(pid, lock)
        )
        os.kill(holder, signal.SIGKILL)
        eventually(lambda: mails.subjects(ENDS))
        burst(service)
        eventually(lambda: len(fired(service)) >= 2)
        assert len(mails.subjects(FIRES)) == 1, "it is within the cooldown"


def _holds(pid: int, path: Path) -> bool:
    """Whether a process has locked a file, as the kernel says."""
    inode = path.stat().st_ino
    return any(f":{inode} " in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_restart_within_the_cooldown_sends_nothing_again(tmp_path: Path) -> None:
    env = environment(tmp_path, None)
    with MailServer() as mails:
        env |= environment(tmp_path, mails.port)
        for run in range(3):
            with served(env) as service:
                burst(service)
                if run == 0:
                    eventually(lambda: mails.subjects(FIRES))
                else:
                    # It may have begun before, or begin again now: either way it is known.
                    eventually(lambda: fired(service) or service.events(event="alert resolved"))
                assert service.stop() in (0, -signal.SIGTERM)
        assert len(mails.subjects(FIRES)) == 1
        assert len(mails.subjects(ENDS)) <= 1


def known(**changes: Any) -> bytes:
    """A state of this service without alerts, but for what is changed."""
    return orjson.dumps({"version": 1, "service": "shop", "alerts": [], "evaluator": {}, **changes})


@pytest.mark.parametrize(
    ("left", "fault"),
    [
        (b"{", "it is no JSON: "),
        (b"[]", "it is list, not an object"),
        (b"{}", "it is of another version None and service None"),
        (known(service="other"), "it is of another service 'other'"),
        (known(alerts=5), "the alerts' part is int, not an array"),
        (known(alerts=[[]]), "an alert is list, not an object"),
        (known(alerts=[{"rule": "HighErrorRate"}]), "an alert has other fields: labels, severity"),
        (known(evaluator=[]), "the evaluator's part is list, not an object"),
    ],
)
def test_a_state_that_cannot_be_read_is_said_once_and_alerts_begin_anew(
    tmp_path: Path, left: bytes, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "alerts.json"
    path.write_bytes(left)
    (said,) = in_process(path, caplog)
    assert said.startswith(f"what was known of alerts in {path} cannot be used, they begin anew: {fault}")
    assert orjson.loads(path.read_bytes())["service"] == "shop"
    assert in_process(path, caplog) == [], "what it has left itself can be read"


def test_a_state_that_cannot_be_written_is_said_once_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "alerts.json"
    path.mkdir()
    part = tmp_path / "alerts.json.webhook"
    part.mkdir()
    # Another state each time, so that it is written each time.
    firing = iter(range(1_000_000))
    rule = AlertRule("Blinks", lambda _: next(firing) % 2, "it blinks", "info")
    caplog.set_level(logging.INFO, "otel_search.alerts")
    more = {"alerts_webhook_url": "http://127.0.0.1:9", "alerts_interval": 0.1, "alerts_cooldown": 0.0}
    try:
        with evaluated(path, **more) as looks:
            looks.wait_for(looks.count + 6)
            said = [line.getMessage() for line in caplog.records if "written" in line.getMessage()]
            assert sorted(said) == [
                f"the state of alerts cannot be written to {path}, a restart forgets it: Is a directory",
                f"the state of alerts cannot be written to {part}, a restart forgets it: Is a directory",
            ]
            caplog.clear()
            path.rmdir()
            part.rmdir()
            eventually(lambda: path.is_file() and part.is_file())
            looks.wait_for(looks.count + 6)
            said = [line.getMessage() for line in caplog.records if "written" in line.getMessage()]
            assert sorted(said) == [
                f"the state of alerts is written to {path} again",
                f"the state of alerts is written to {part} again",
            ]
    finally:
        rule.remove()


def test_where_the_state_has_no_place_alerts_are_evaluated_nevertheless(tmp_path: Path) -> None:
    state = tmp_path / "missing" / "alerts.json"
    with MailServer() as mails:
        env = environment(tmp_path, mails.port, OTEL_SEARCH_ALERTS_STATE=str(state))
        with served(env, "--workers", "2") as service:
            eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 2)
            burst(service)
            eventually(lambda: mails.subjects(ENDS))
            assert len(mails.subjects(FIRES)) == 1
            line = service.event(logger="otel_search.alerts", level="warning")
            assert line["event"] == (
                f"OTEL_SEARCH_ALERTS_STATE={state} cannot be used, a restart forgets all alerts: No such file or directory"
            )


@pytest.mark.parametrize("waiting", [b"{", known(), known(waiting=5), known(waiting=[[{}, 1]]), known(waiting=[{}])])
def test_waiting_notifications_that_cannot_be_read_are_said_once(
    tmp_path: Path, waiting: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "alerts.json"
    path.write_bytes(known())
    part = tmp_path / "alerts.json.webhook"
    part.write_bytes(waiting)
    (said,) = in_process(path, caplog, alerts_webhook_url="http://127.0.0.1:9")
    assert said.startswith(f"what was known of alerts in {part} cannot be used, they begin anew: ")


class Looks:
    """Counts how often the metrics have been looked at."""

    def __init__(self) -> None:
        self.count = 0
        self._more = threading.Condition()

    def merged(self) -> Merged:
        with self._more:
            self.count += 1
            self._more.notify_all()
        return Merged()

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: self.count >= count, 60)


@contextlib.contextmanager
def evaluated(path: Path, **more: Any) -> Iterator[Looks]:
    looks = Looks()
    alerts = EmbeddedAlerts(Settings(alerts="embedded", alerts_state=str(path), **more), looks.merged, "shop")
    alerts.begin()
    try:
        looks.wait_for(1)
        yield looks
    finally:
        alerts.end()


def in_process(path: Path, caplog: pytest.LogCaptureFixture, **more: Any) -> list[str]:
    """Evaluate once, with what is left in a file; the warnings and errors of it."""
    caplog.clear()
    with evaluated(path, **more):
        pass
    return [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]


def test_files_for_mails_that_cannot_be_read_are_said_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("alerts_smtp_password_file", "alerts_smtp_ca_certs"):
        more = {"alerts_smtp_host": "127.0.0.1", "alerts_to": ("a@example.org",), name: str(tmp_path / "missing")}
        (said,) = in_process(tmp_path / "alerts.json", caplog, **more)
        missing = tmp_path / "missing"
        assert said == f"no mail can be sent: {missing} cannot be used for 127.0.0.1:587: No such file or directory"


def test_a_mail_that_could_not_be_sent_is_sent_after_the_restart(tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path, port)
    with served(env) as service:
        burst(service)
        eventually(lambda: service.events(event="alert mail failed"))
        assert service.stop() in (0, -signal.SIGTERM)
    with MailServer(port=port) as mails, served(env):
        eventually(lambda: mails.subjects(FIRES))


def reasons(service: Service) -> list[str]:
    return [str(event["reason"]) for event in service.events(event="alert mail failed")]


@pytest.mark.parametrize("kind", ["hung", "trickling", "refusing", "unknown", "recipients", "certificate"])
def test_a_mail_server_that_fails_does_not_touch_the_service_and_is_said(tmp_path: Path, kind: str) -> None:
    with contextlib.ExitStack() as stack:
        more = {"OTEL_SEARCH_ALERTS_SMTP_TIMEOUT": "1"}
        expected = ""
        match kind:
            case "hung" | "trickling":
                port = stack.enter_context(silent(b"" if kind == "hung" else b"2"))
                expected = "1 s (OTEL_SEARCH_ALERTS_SMTP_TIMEOUT)"
            case "refusing":
                port, expected = free_port(), "refuses the connection"
            case "unknown":
                port, more["OTEL_SEARCH_ALERTS_SMTP_HOST"], expected = 25, "mail.invalid", "mail.invalid:25"
            case "recipients":
                server = MailServer(refuse=("ops@example.org",))
                port, expected = stack.enter_context(server).port, "ops@example.org: 550 5.1.1 no such mailbox"
            case _:
                port = stack.enter_context(_tls_server()).port
                more["OTEL_SEARCH_ALERTS_SMTP_SECURITY"], expected = "tls", "is not trusted: "
        env = {**environment(tmp_path, port), **more}
        service = stack.enter_context(served(env))
        burst(service)
        answered = 0
        while not reasons(service):
            assert service.get("/status/200").status_code == 200
            answered += 1
            assert answered < 20_000
        assert expected in reasons(service)[0]
        assert "HighErrorRate" in service.events(event="alert mail failed")[0]["search.alert.name"]
        # Whatever hangs there, the end of the process does not wait for it.
        assert service.stop(timeout=10) in (0, -signal.SIGTERM)


def _tls_server() -> MailServer:
    import trustme

    from tests.alerts.mail_server import server_context

    return MailServer(ssl_context=server_context(trustme.CA().issue_cert("127.0.0.1")))


class _Hook(BaseHTTPRequestHandler):
    posts: list[Any]

    def do_POST(self) -> None:
        self.posts.append(orjson.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def webhook() -> Iterator[tuple[str, list[Any]]]:
    posts: list[Any] = []
    handler = type("Hook", (_Hook,), {"posts": posts})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/alerts", posts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_gets_what_alertmanager_would_send(tmp_path: Path) -> None:
    with webhook() as (url, posts):
        env = environment(tmp_path, None, OTEL_SEARCH_ALERTS_WEBHOOK_URL=url)
        with served(env) as service:
            burst(service)

            def told(status: str) -> Any:
                return next(
                    (p for p in posts if p["status"] == status and p["groupLabels"]["alertname"] == "HighErrorRate"),
                    None,
                )

            begin, end = eventually(lambda: told("firing")), eventually(lambda: told("resolved"))
    assert set(begin) == {
        "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
        "commonAnnotations", "externalURL", "alerts",
    }  # fmt: skip
    assert begin["version"] == "4"
    (alert,) = begin["alerts"]
    assert alert["labels"] == {"alertname": "HighErrorRate", "severity": "critical", "job": "test-service"}
    assert alert["annotations"]["runbook_url"] == "docs/alerts.md#higherrorrate"
    assert len(alert["annotations"]["trace_id"]) == 32
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert end["alerts"][0]["fingerprint"] == alert["fingerprint"]
    assert end["alerts"][0]["endsAt"] > alert["startsAt"]


def test_rules_of_the_application_go_to_their_own_recipients(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "without: [HighErrorRate]\n"
        "rules:\n"
        "  - name: Missing\n"
        "    condition: increase(http_server_request_duration_seconds_count{http_response_status_code='404'}[5m]) > 2\n"
        '    message_template: "{value:count} times {service} did not find it"\n'
        "    recipients: [lost@example.org]\n"
    )
    with MailServer() as mails:
        env = environment(tmp_path, mails.port, OTEL_SEARCH_ALERTS_RULES=str(rules))
        with served(env) as service:
            for _ in range(4):
                assert service.get("/status/404").status_code == 404
                service.get("/order")
            burst(service, 10)
            eventually(lambda: mails.subjects("Missing") and mails.subjects("OrdersWait"))
            assert not mails.subjects("HighErrorRate")
    to = {str(mail["Subject"]).split(": ")[1]: mail["To"] for mail in mails.mails}
    assert to["Missing"] == "lost@example.org"
    assert to["OrdersWait"] == "orders@example.org"


def test_a_file_of_rules_that_is_wrong_is_one_line_and_our_rules_stay(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: A, condition: up > 1, message_template: x}]")
    with served(environment(tmp_path, None, OTEL_SEARCH_ALERTS_RULES=str(rules))) as service:
        burst(service)
        eventually(lambda: fired(service))
        (line,) = [each for each in service.events(level="error") if "OTEL_SEARCH_ALERTS_RULES" in each["event"]]
        assert "cannot be used, only otel-search's own rules are: " in line["event"]
        assert "alert rule 'A': the condition is not accepted" in line["event"]


def test_nothing_is_there_when_it_is_off(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from otel_search.settings import Settings; from otel_search.endpoints import Endpoints\n"
        "Endpoints(Settings.read({}), {'service': 'x'})\n"
        "print('smtplib' in sys.modules, 'otel_search.alerts' in sys.modules, threading.active_count())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout.split() == ["False", "False", "1"]


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(tmp_path: Path) -> None:
    lock, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert lock.take()
    assert not other.take()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the parent is done
        os._exit(0)
    try:
        lock.release()
        eventually(other.take)  # although the child lives
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def outbox(send: Callable[[Any], None], **options: Any) -> Outbox:
    return Outbox("mail", send, 0.3, delays=(0.01, 0.01), **options)


def test_an_attempt_is_made_a_few_times_and_then_given_up(caplog: pytest.LogCaptureFixture) -> None:
    attempts = []

    def send(told: Any) -> None:
        attempts.append(told.rule)
        raise DeliveryError("not now")

    box = outbox(send)
    box.put([notification(rule="A"), notification(rule="B")])
    eventually(lambda: not box.state())
    assert attempts == ["A"] * 3 + ["B"] * 3
    said = [record.getMessage() for record in caplog.records]
    assert said == [*["alert mail failed"] * 3, "alert mail was given up"] * 2
    box.end()


def test_what_would_fail_again_is_not_tried_again() -> None:
    attempts = []

    def send(told: Any) -> None:
        attempts.append(told.rule)
        raise DeliveryError("no such mailbox", permanent=True)

    box = outbox(send)
    box.put([notification()])
    eventually(lambda: not box.state())
    assert len(attempts) == 1
    box.end()


def test_what_hangs_for_ever_hangs_in_one_thread_at_most() -> None:
    ever = threading.Event()
    begun = []

    def send(told: Any) -> None:
        begun.append(told.rule)
        ever.wait()

    box = outbox(send)
    box.put([notification(rule=name) for name in "ABC"])
    try:
        eventually(lambda: not box.state())
        assert begun == ["A"]
    finally:
        ever.set()
        box.end()


def test_what_waits_is_bounded_and_what_another_left_is_sent() -> None:
    ever = threading.Event()
    kept: list[Any] = []
    box = outbox(lambda told: ever.wait() and None, keep=lambda state: kept.append(orjson.loads(orjson.dumps(state))))
    box.put([notification(rule=f"R{number}") for number in range(500)])
    left = orjson.loads(orjson.dumps(box.state()))
    names = [[waiting["rule"] for waiting, _ in state] for state in (kept[-1], left)]
    assert names[0] == names[1], "what another would need is kept at once"
    assert len(left) == 200
    assert left[-1][0]["rule"] == "R499"
    ever.set()
    box.end()
    sent: list[str] = []
    other = outbox(lambda told: sent.append(told.rule))
    other.restore(left[-3:])
    eventually(lambda: sent == ["R497", "R498", "R499"])
    other.end()
