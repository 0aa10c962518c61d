"""`otel-search alerts`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from otel_search import settings
from otel_search.settings import Settings

if TYPE_CHECKING:
    from otel_search.alerts.rules import Rule

EXTRA = "alerts"

_OPTIONS = (
    "out",
    "rules",
    "objective",
    "time_scale",
    "repeat",
    "webhook_url",
    "runbooks",
    "smtp_host",
    "smtp_port",
    "smtp_security",
    "smtp_username",
    "smtp_password_file",
    "smtp_ca_certs",
    "from",
    "to",
)
"""Of `render`, each but the first in the place of a variable."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "The alert rules: what there are, as files for Prometheus and Alertmanager, and whether a file of your own is "
        "right. Rules and mail server are those of the OTEL_SEARCH_ALERTS_* variables, unless an option says otherwise."
    )
    parser.epilog = (
        "examples:\n"
        "  otel-search alerts render --out alerts --smtp-host mail.example.org --to oncall@example.org\n"
        "  otel-search alerts check rules.yaml\n"
        "  otel-search alerts test-mail --to me@example.org"
    )
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")

    shown = actions.add_parser("list", help="all rules, with what each looks at")
    render = actions.add_parser("render", help="write rules, their tests and Alertmanager's configuration")
    check = actions.add_parser("check", help="whether a file of rules, YAML or Python, can be used")
    test_mail = actions.add_parser("test-mail", help="send a mail, and say what goes wrong")
    for action in (shown, render):
        action.add_argument("--rules", metavar="FILE", help="rules of your own (OTEL_SEARCH_ALERTS_RULES)")
        action.add_argument("--objective", metavar="PERCENT", help="of requests that do not fail (default: 99.9)")
    check.add_argument("file", metavar="FILE")
    render.add_argument("--out", metavar="DIR", default="alerts", help="where to write (default: alerts)")
    render.add_argument(
        "--time-scale",
        metavar="FACTOR",
        help="multiply all windows and delays, for a drill: 0.01 makes 5 minutes 3 seconds",
    )
    render.add_argument("--repeat", metavar="SECONDS", help="tell an alert that goes on again after (default: 300)")
    render.add_argument("--webhook-url", metavar="URL", help="post all alerts there, too")
    render.add_argument("--runbooks", metavar="URL", help="the address of docs/alerts.md, for the links in alerts")
    for action in (render, test_mail):
        action.add_argument("--smtp-host", metavar="HOST", help="the mail server")
        action.add_argument("--smtp-port", metavar="PORT", help="its port")
        action.add_argument("--smtp-security", metavar="HOW", help="starttls, tls or plain")
        action.add_argument("--smtp-username", metavar="NAME", help="who to log in as")
        action.add_argument("--smtp-password-file", metavar="FILE", help="a file with the password")
        action.add_argument("--smtp-ca-certs", metavar="FILE", help="a file with certificate authorities")
        action.add_argument("--from", metavar="ADDRESS", help="the sender")
        action.add_argument("--to", metavar="ADDRESSES", help="who gets the mails, separated by commas")


def run(parsed: argparse.Namespace) -> int:
    """Run the action."""
    try:
        effective = _settings(parsed)
        match parsed.action:
            case "list":
                return _list(effective)
            case "render":
                return _render(effective, Path(parsed.out), " ".join(["otel-search alerts render", *_options(parsed)]))
            case "check":
                return _check(parsed.file)
        return _test_mail(effective)
    except BrokenPipeError:
        raise  # nobody reads the output any more, which is no failure of ours
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _settings(parsed: argparse.Namespace) -> Settings:
    """The settings, with the options in the place of their variables.

    Raises:
        ValueError: An option is not accepted.
    """
    effective = settings.current()
    given = {f"alerts_{name}": value for name, value in vars(parsed).items() if value is not None}
    changes = {}
    for row in settings.rows():
        if row.name in given:
            try:
                changes[row.name] = row.accepts.parse(given[row.name])
            except ValueError as error:
                option = row.name.removeprefix("alerts_").replace("_", "-")
                words = row.accepts.words.replace("`", "")
                raise ValueError(f"--{option}={given[row.name]!r} is not accepted; accepted: {words}") from error
    return dataclasses.replace(effective, **changes)


def _options(parsed: argparse.Namespace) -> list[str]:
    """The options that were given, to be written down."""
    return [f"--{name.replace('_', '-')} {vars(parsed)[name]}" for name in _OPTIONS if vars(parsed)[name] is not None]


def _rules(effective: Settings) -> list[Rule]:
    from otel_search.alerts.own import AlertRule, rules_of

    rules = [*rules_of(effective.alerts_objective / 100, effective.alerts_rules), *AlertRule.declared()]
    return [rule.scaled(effective.alerts_time_scale) for rule in rules] if effective.alerts_time_scale != 1 else rules


def _list(effective: Settings) -> int:
    from otel_search.alerts.promql import duration

    rules = _rules(effective)
    width = max(len(rule.name) for rule in rules)
    for rule in rules:
        what = rule.what or rule.summary
        print(f"{rule.name:{width}}  {rule.severity:8}  for {duration(rule.pending):>5}  {_limit(rule)}{what}")
    return 0


def _limit(rule: Rule) -> str:
    return "" if rule.threshold is None else f"[{rule.threshold:g}] "


def _render(effective: Settings, out: Path, command: str) -> int:
    from otel_search.alerts.alertmanager import FILE, Mail, alertmanager
    from otel_search.alerts.render import prometheus, renderable

    rules = _rules(effective)
    drill = effective.alerts_time_scale != 1
    rendered = prometheus(rules, effective.alerts_runbooks, command, tested=not drill)
    files = {f"prometheus/rules/{name}": text for name, text in rendered.items()}
    mail = Mail(
        host=effective.alerts_smtp_host or "localhost",
        port=effective.alerts_smtp_port or 0,
        security=effective.alerts_smtp_security,
        username=effective.alerts_smtp_username,
        password_file=effective.alerts_smtp_password_file or "/etc/alertmanager/smtp_password",
        ca_certs=effective.alerts_smtp_ca_certs,
        sender=effective.alerts_from or Mail.sender,
        to=effective.alerts_to or Mail.to,
    )
    files[f"alertmanager/{FILE}"] = alertmanager(
        rules,
        mail,
        command,
        webhook=effective.alerts_webhook_url,
        repeat=effective.alerts_repeat or 3600.0 * 24 * 365,
        wait=10.0 * effective.alerts_time_scale,
    )
    for name, text in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
    _say_left_out(rules, renderable(rules))
    return 0


def _say_left_out(rules: Iterable[Rule], rendered: Iterable[Rule]) -> None:
    names = {rule.name for rule in rendered}
    for rule in rules:
        if rule.name not in names:
            print(f"{rule.name} is left out: only the service itself can evaluate it", file=sys.stderr)


def _check(file: str) -> int:
    from otel_search.alerts.own import AlertRule, rules_of

    known = {rule.name: rule for rule in rules_of(0.999)}
    rules = [*rules_of(0.999, file), *AlertRule.declared()]
    for rule in rules:
        if rule.name not in known:
            print(f"{rule.name}: added, {rule.severity}")
        elif rule != known[rule.name]:
            print(f"{rule.name}: changed, {rule.severity}")
    for name in known.keys() - {rule.name for rule in rules}:
        print(f"{name}: left out")
    print(f"{file} can be used: {len(rules)} rules")
    return 0


def _test_mail(effective: Settings) -> int:
    from otel_search.alerts import mail
    from otel_search.alerts.embedded import mail_server
    from otel_search.alerts.states import Notification
    from otel_search.aside import in_thread

    for name, value in (
        ("OTEL_SEARCH_ALERTS_SMTP_HOST", effective.alerts_smtp_host),
        ("OTEL_SEARCH_ALERTS_TO", effective.alerts_to),
    ):
        if not value:
            print(f"{name} is not set: there is nobody to send a mail to", file=sys.stderr)
            return 1
    server = mail_server(effective)
    now = time.time()
    notification = Notification(
        key="TestMail{}",
        rule="TestMail",
        severity="info",
        status="firing",
        labels={},
        summary="this is a test: mails of alerts arrive",
        value=0.0,
        started=now,
        ended=0.0,
        recipients=effective.alerts_to,
    )
    letter = mail.message(notification, effective.alerts_from or "otel-search@localhost", "otel-search")
    try:
        in_thread(lambda: mail.send(server, letter), "test mail").result(server.timeout + 2)
    except mail.DeliveryError as error:
        print(f"no mail was sent: {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"no mail was sent: it took longer than {server.timeout:g} s", file=sys.stderr)
        return 1
    print(f"{server.address} has taken a mail to {', '.join(effective.alerts_to)}")
    return 0
