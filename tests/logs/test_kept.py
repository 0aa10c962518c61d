"""Lines that keep the form of the application: no secrets, and else as they were."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import logging.handlers
import queue
import re
import sys
from typing import Any

import pytest
import structlog

from otel_search import logs
from otel_search.logs.kept import Kept
from otel_search.redaction import Redactor, counts, marker
from otel_search.settings import Settings

from .conftest import Chain

kept = Kept(Redactor())
TOKEN, PASSWORD, CARD = marker("token"), marker("password"), marker("card number")
EVENT = {"message": "it is", "password": "M4rk3r", "pin": {"cookie": ["M4rk3r"], "token": 5}, "größe": "ü"}
HIDDEN = {"message": "it is", "password": PASSWORD, "pin": {"cookie": marker("cookie"), "token": TOKEN}, "größe": "ü"}


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"separators": (",", ":")},
        {"ensure_ascii": False},
        {"indent": 4},
        {"indent": 2, "ensure_ascii": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=repr)
def test_json_stays_json_in_its_own_manner(form: dict[str, Any], end: str) -> None:
    assert kept.line(json.dumps(EVENT, **form) + end) == json.dumps(HIDDEN, **form) + end


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ({"message": "Cookie: a=b; c=d", "x": 1}, {"message": f"Cookie: {marker('cookie')}", "x": 1}),
        ({"card": 4111111111111111, "at": 1764099200000000000}, {"card": CARD, "at": 1764099200000000000}),
        ({"password": {"a": "M4rk3r"}, "secret": None}, {"password": PASSWORD, "secret": None}),
        ({"password": True}, {"password": PASSWORD}),
        ({"headers": [["token", "M4rk3r"], ["host", "a"]]}, {"headers": [["token", TOKEN], ["host", "a"]]}),
        (["login", "--token", "M4rk3r", "-v"], ["login", "--token", TOKEN, "-v"]),
        ([{"name": "token", "value": "M4rk3r"}], [{"name": "token", "value": TOKEN}]),
        ([{"token": "M4rk3r"}, "Bearer M4rk3r0123"], [{"token": TOKEN}, f"Bearer {TOKEN}"]),
        ({"Bearer M4rk3r0123": 1}, {f"Bearer {TOKEN}": TOKEN}),
        ({"half": "\ud800", "größe": 1, "token": "M4rk3r"}, {"half": "\ud800", "größe": 1, "token": TOKEN}),
    ],
)
def test_fields_are_hidden_at_any_depth(value: Any, hidden: Any) -> None:
    line = kept.line(json.dumps(value))
    assert json.loads(line) == hidden
    line.encode()
    assert json.loads(kept.line(line)) == hidden


def test_an_escaped_slash_hides_nothing_from_us() -> None:
    line = r'{"to": "https:\/\/hooks.slack.com\/services\/T00000000\/B00000000\/XXXXXXXX"}'
    assert json.loads(kept.line(line)) == {"to": f"https://hooks.slack.com/services/{TOKEN}"}


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("[INFO] token=M4rk3r said\n", f"[INFO] token={TOKEN} said\n"),
        ("{not json} token=M4rk3r", f"{{not json}} token={TOKEN}"),
        ("\x1b[36mtoken\x1b[0m=\x1b[35mM4rk3r\x1b[0m said", f"token={TOKEN} said"),
        ("\x1b[2K\x1b]0;title\x07token=M4rk3r", f"\x1b]0;title\x07token={TOKEN}"),
        ("[" * 100_000 + "token=M4rk3r", "[" * 100_000 + f"token={TOKEN}"),
    ],
    ids=["text", "like JSON", "colours", "a terminal's title", "deep"],
)
def test_text_stays_text(line: str, hidden: str) -> None:
    assert kept.line(line) == hidden


@pytest.mark.parametrize("line", ['{"a":1,  "max_tokens": NaN, "token": null}', "\x1b[1mbold\x1b[0m", "", "{", '"x"'])
def test_what_has_no_secret_is_not_touched(line: str) -> None:
    assert kept.line(line) is line


def test_nothing_is_counted_as_the_record_of_the_event_is() -> None:
    before = counts()
    kept.line("token=M4rk3r")
    kept.line('{"token": "M4rk3r"}')
    assert counts() == before


def test_a_line_survives_a_redactor_that_fails() -> None:
    class Failing(Redactor):
        def is_harmless(self, text: str) -> bool:
            raise RuntimeError(text)

    assert Kept(Failing()).line("token=x") == "token=x"


class OfTheApplication(logging.Formatter):
    """A formatter that somebody has chosen."""


def of_its_own() -> logging.StreamHandler[Any]:
    """A console handler of the application with a form of its own; made in the test, whose stdout it is."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(OfTheApplication("%(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


def test_a_handler_is_as_it_was_when_we_have_gone(chain: Chain) -> None:
    own = of_its_own()
    before = dict(vars(own))
    logging.getLogger("std").warning("token=%s", "M4rk3r")
    logging.getLogger("std").warning("again")
    assert chain.capsys.readouterr().out == f"WARNING token={TOKEN}\nWARNING again\n"
    assert chain.records()[0].body == f"token={TOKEN}"
    logs.uninstall()
    assert vars(own) == before
    logging.getLogger("std").warning("token=%s", "M4rk3r")
    assert chain.capsys.readouterr().out == "WARNING token=M4rk3r\n"


def test_a_handlers_own_format_is_asked_and_given_back(chain: Chain) -> None:
    own = of_its_own()

    def as_shouted(record: logging.LogRecord) -> str:
        return record.getMessage().upper()

    own.format = as_shouted  # type: ignore[method-assign]
    logging.getLogger("std").warning("token=%s", "M4rk3r")
    assert chain.capsys.readouterr().out == f"TOKEN={TOKEN}\n"
    logs.uninstall()
    assert own.format is as_shouted


def test_rich_draws_what_has_no_secrets(chain: Chain) -> None:
    rich_logging = pytest.importorskip("rich.logging", reason="rich is not installed")
    rich_console = pytest.importorskip("rich.console")
    handler = rich_logging.RichHandler(console=rich_console.Console(file=sys.stdout, width=200))
    logging.getLogger().addHandler(handler)
    logging.getLogger("std").warning("token=%s and more", "M4rk3r")
    out = chain.capsys.readouterr().out
    assert f"token={TOKEN} and more" in out
    assert out.startswith("[")  # the time, in rich's form


SECRET = "M4rk3r"


@dataclasses.dataclass
class Login:
    user: str
    password: str


class Client:
    def __init__(self) -> None:
        self.api_key = SECRET

    def __repr__(self) -> str:
        return f"Client(token='{SECRET}')"


JWT = "eyJhbGciOiJIUzI1NiJ9." + f"{SECRET}OiJNNHJrM3IiOjF9" * 12 + ".c2lnbmF0dXJl"
URL = "https://shop:" + f"{SECRET}" * 40 + "@db"


def fail(password: str, login: Login, client: Client, headers: Any, other: str, url: str, user: str) -> None:
    token = None
    raise LookupError(len([password, login, client, client.api_key, headers, other, url, user, token]))


def failing() -> None:
    """Raise with secrets in variables: by their names, by their looks, and in what is cut."""
    fail(SECRET, Login("bob", SECRET), Client(), [("cookie", SECRET)], JWT, URL, "jane")


def test_rich_draws_tracebacks_and_variables_without_secrets(chain: Chain) -> None:
    rich_logging = pytest.importorskip("rich.logging", reason="rich is not installed")
    rich_traceback, rich_console = pytest.importorskip("rich.traceback"), pytest.importorskip("rich.console")
    console = rich_console.Console(file=sys.stdout, width=240)
    handler = rich_logging.RichHandler(console=console, rich_tracebacks=True, tracebacks_show_locals=True, markup=True)
    logging.getLogger().addHandler(handler)
    try:
        failing()
    except LookupError:
        logging.getLogger("std").exception("token=%s and more", SECRET)
    out = chain.capsys.readouterr().out
    assert f"token={TOKEN} and more" in out
    shown = re.sub(r"[│\s]+", " ", out)
    for line in (
        f"password = {PASSWORD}",
        f"login = Login(user='bob', password={PASSWORD})",
        f"client = Client(token='{TOKEN}')",
        f"headers = [('cookie', {marker('cookie')})]",
        f"other = {marker('value')}",
        f"url = {marker('value')}",
        "user = 'jane'",
        "token = None",
    ):
        assert line in shown, out
    assert SECRET not in out
    logs.uninstall()
    assert vars(handler).keys().isdisjoint({"format", "render_message"})
    assert rich_traceback.Traceback.extract.__module__ == "rich.traceback"


class TestTheirs:
    """With OTEL_SEARCH_LOG_LINES=theirs."""

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(log_lines="theirs")

    def test_a_queues_listener_writes_no_secret(self, chain: Chain) -> None:
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        console = logging.StreamHandler(sys.stdout)
        listener = logging.handlers.QueueListener(waiting, console)
        listener.start()
        logging.getLogger().addHandler(logging.handlers.QueueHandler(waiting))
        logging.getLogger("std").warning("token=%s", "M4rk3r")
        listener.stop()
        assert chain.capsys.readouterr().out == f"token={TOKEN}\n"

    @pytest.mark.parametrize("renderer", ["console", "json", "bytes"])
    def test_structlogs_own_loggers_write_no_secret(self, chain: Chain, renderer: str) -> None:
        processors: list[Any] = [structlog.processors.add_log_level]
        if renderer == "console":
            processors.append(structlog.dev.ConsoleRenderer(colors=False))
        else:
            dumps = json.dumps if renderer == "json" else lambda *args, **more: json.dumps(*args, **more).encode()
            processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(serializer=dumps)]
        output = structlog.BytesLoggerFactory if renderer == "bytes" else structlog.PrintLoggerFactory
        stream: Any = sys.stdout.buffer if renderer == "bytes" else sys.stdout
        structlog.configure(processors=processors, logger_factory=output(stream))
        log = structlog.get_logger()
        log.warning("token=M4rk3r", password="M4rk3r")
        try:
            failing()
        except LookupError:
            log.exception("it failed")
        sys.stdout.flush()
        out = chain.capsys.readouterr().out
        assert f"token={TOKEN}" in out
        assert "it failed" in out
        assert "jane" in out
        assert SECRET not in out


@pytest.mark.parametrize("form", ["text", "colours", "json"])
def test_loguru_shows_variables_without_secrets(chain: Chain, form: str) -> None:
    loguru = pytest.importorskip("loguru", reason="loguru is not installed")
    loguru.logger.remove()
    try:
        loguru.logger.add(
            sys.stdout, format="{message}", diagnose=True, colorize=form == "colours", serialize=form == "json"
        )
        try:
            failing()
        except LookupError:
            loguru.logger.exception("it failed")
    finally:
        out = chain.capsys.readouterr().out
        loguru.logger.remove()
    text = json.loads(out)["text"] if form == "json" else out
    shown = [line.rpartition("└ ")[2] for line in text.splitlines() if "└ " in line]
    assert {PASSWORD, marker("value"), "'jane'", marker("api key"), f"Client(token='{TOKEN}')", "None"} <= set(shown), (
        text
    )
    assert f"Login(user='bob', password='{PASSWORD}')" in shown
    assert SECRET not in out


def test_in_ascii_pointers_are_arrows() -> None:
    lines = ["  |   login(user, password)", "  |   |     |     -> 'M4rk3r'", "  |   |     -> 'jane'", "next -> page"]
    hidden = [lines[0], f"  |   |     |     -> {PASSWORD}", *lines[2:]]
    assert kept.line("\n".join(lines)) == "\n".join(hidden)


def test_a_value_of_many_lines_is_hidden_as_a_whole() -> None:
    lines = [
        "    login(user, password)",
        "    │     │     └ <Secret",
        "    │     │       M4rk3r",
        "    │     │       >",
        "    │     └ 'jane'",
    ]
    hidden = ["    login(user, password)", f"    │     │     └ {PASSWORD}", "    │     └ 'jane'"]
    assert kept.line("\n".join(lines)) == "\n".join(hidden)
    assert kept.line("\n".join(hidden)) == "\n".join(hidden)


def test_loguru_writes_no_secret_to_the_console_and_has_its_own_back(chain: Chain) -> None:
    loguru = pytest.importorskip("loguru", reason="loguru is not installed")
    memory = io.StringIO()
    loguru.logger.remove()
    try:
        loguru.logger.add(sys.stdout, format="{message}", colorize=False)
        loguru.logger.add(sys.stdout, format="late {message}", colorize=False, enqueue=True)
        loguru.logger.add(memory, format="{message}")
        loguru.logger.warning("token=M4rk3r")
        loguru.logger.complete()
        out = chain.capsys.readouterr().out
        assert sorted(out.splitlines()) == [f"late token={TOKEN}", f"token={TOKEN}"]
        assert memory.getvalue() == "token=M4rk3r\n"
        logs.uninstall()
        loguru.logger.warning("token=M4rk3r")
        loguru.logger.complete()
        assert sorted(chain.capsys.readouterr().out.splitlines()) == ["late token=M4rk3r", "token=M4rk3r"]
        assert {type(each._sink).__module__ for each in loguru.logger._core.handlers.values()} == {
            "loguru._simple_sinks"
        }
    finally:
        loguru.logger.remove()
