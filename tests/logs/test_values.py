"""Whatever an application logs is written, bounded and safe; one bad value costs that value (C20, C21)."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import math
import re
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pydantic
import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.requests import Request

from otel_search.logs.render import json_line
from otel_search.logs.values import MAX_TEXT, Values
from otel_search.redaction import Redactor

from .conftest import Chain


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    password: str


class Product(pydantic.BaseModel):
    name: str
    price: Decimal


class Login(NamedTuple):
    user: str
    password: str | None


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class Scalar:
    """Like numpy's, without numpy."""

    dtype = "float64"

    def tolist(self) -> float:
        return 1.5


class Count(int):
    pass


BERLIN = timezone(timedelta(hours=1))
CYCLE: dict[str, Any] = {"name": "loop"}
CYCLE["self"] = CYCLE

CASES = [
    pytest.param(None, None, id="none"),
    pytest.param(True, True, id="bool"),
    pytest.param(2**70, str(2**70), id="large-int"),
    pytest.param(Count(3), 3, id="int-subclass"),
    pytest.param(math.nan, "nan", id="nan"),
    pytest.param(-math.inf, "-inf", id="infinity"),
    pytest.param(Decimal("1.10"), "1.10", id="decimal"),
    pytest.param(b"caf\xc3\xa9 \xff", "café \\xff", id="bytes"),
    pytest.param({"b"}, ["b"], id="set"),
    pytest.param((1, None), [1, None], id="tuple"),
    pytest.param({1: {"a": None}}, {"1": {"a": None}}, id="int-keys"),
    pytest.param(datetime(2026, 11, 25, 3, 4), "2026-11-25T03:04:00", id="naive"),  # noqa: DTZ001 - it is the case
    pytest.param(datetime(2026, 11, 25, tzinfo=BERLIN), "2026-11-25T00:00:00+01:00", id="aware"),
    pytest.param(date(2026, 11, 25), "2026-11-25", id="date"),
    pytest.param(uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", id="uuid"),
    pytest.param(PurePosixPath("a/b"), "a/b", id="path"),
    pytest.param(Colour.RED, "red", id="enum"),
    pytest.param(Point(1, "hunter2"), {"x": 1, "password": "[redacted: password]"}, id="dataclass"),
    pytest.param(Product(name="lamp", price=Decimal("9.5")), {"name": "lamp", "price": "9.5"}, id="pydantic"),
    pytest.param(Scalar(), 1.5, id="numpy-like"),
    pytest.param(ValueError("bad token=hunter2"), "ValueError: bad token=[redacted: token]", id="exception"),
    pytest.param(Login("bob", "hunter2"), ["bob", "[redacted: password]"], id="named-tuple"),
    pytest.param(Login("bob", None), ["bob", None], id="named-tuple-without"),
    pytest.param(
        [("x-api-key", "hunter2"), (b"cookie", b"sid=hunter2"), ["host", "shop"], ("a", "token", "b")],
        [["x-api-key", "[redacted: api key]"], ["cookie", "[redacted: cookie]"], ["host", "shop"], ["a", "token", "b"]],
        id="headers",
    ),
    pytest.param(
        {"env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"key": "HOST", "value": "db"}]},
        {"env": [{"name": "DB_PASSWORD", "value": "[redacted: password]"}, {"key": "HOST", "value": "db"}]},
        id="names-and-values",
    ),
    pytest.param(
        ["psql", "--db-password", "hunter2", "--host", "db"],
        ["psql", "--db-password", "[redacted: password]", "--host", "db"],
        id="command-line",
    ),
    pytest.param(
        {"cookies": {"sid": "hunter2"}, "secrets": 3, "credentials": ["hunter2"], "tokens": ["red"]},
        {"cookies": "[redacted: cookie]", "secrets": 3, "credentials": "[redacted: credential]", "tokens": ["red"]},
        id="of-many",
    ),
    pytest.param({"basic_auth": ("elastic", "hunter2")}, {"basic_auth": "[redacted: credential]"}, id="basic-auth"),
    pytest.param(Rude(), "<Rude: its text raises RuntimeError>", id="rude"),
    pytest.param("lone \ud800 surrogate", "lone \\ud800 surrogate", id="surrogate"),
    pytest.param("line\nbreak \x1b[31m \u2028", "line\nbreak \x1b[31m \u2028", id="control"),
]


@pytest.mark.parametrize(("value", "expected"), CASES)
def test_a_value_is_written_and_exported_alike(chain: Chain, value: Any, expected: Any) -> None:
    structlog.get_logger().info("event", it=value)
    assert chain.line()["it"] == expected
    exported = chain.record().attributes["it"]
    assert json.loads(json.dumps(exported, default=dict)) == expected


def test_a_cycle_ends(chain: Chain) -> None:
    structlog.get_logger().info("event", it=CYCLE)
    assert "too deep" in json.dumps(chain.line()["it"])


def test_a_huge_text_is_cut_and_says_so(chain: Chain) -> None:
    structlog.get_logger().info("event", it="x" * 1_000_000)
    text = chain.line()["it"]
    assert len(text) < MAX_TEXT + 100
    assert "characters left out" in text


def test_many_items_are_cut_and_say_so(chain: Chain) -> None:
    structlog.get_logger().info("event", it=list(range(100_000)))
    items = chain.line()["it"]
    assert len(items) == 257
    assert items[-1] == "… 99744 more"


def test_no_nesting_makes_a_line_without_bound(chain: Chain) -> None:
    wide: Any = "a text of some length, as names and titles have it"
    for _ in range(5):
        wide = [wide] * 100  # 10,000,000,000 texts, in very little memory
    structlog.get_logger().info("event", it=wide, of={"dicts": {str(number): {"in": wide} for number in range(99)}})
    line = json_line(chain.line())
    assert len(line) < 1_000_000
    assert "more" in line


def test_many_long_texts_are_cut_together(chain: Chain) -> None:
    structlog.get_logger().info("event", it=["y" * 10_000] * 250)
    items = chain.line()["it"]
    assert 10 < len(items) < 40
    assert items[-1] == f"… {250 - len(items) + 1} more"


def test_a_large_array_is_not_made_a_list(chain: Chain) -> None:
    class Array:
        dtype, size = "float64", 10_000_000

        def tolist(self) -> Any:
            raise AssertionError("too much")

        def __str__(self) -> str:
            return "[0. 1. ... 9.]"

    structlog.get_logger().info("event", it=Array())
    assert chain.line()["it"] == "[0. 1. ... 9.]"


@pytest.mark.parametrize("processor", ["format_exc_info", "dict_tracebacks", None])
def test_causes_and_groups_are_kept(chain: Chain, processor: str | None) -> None:
    first = [] if processor is None else [getattr(structlog.processors, processor)]
    structlog.configure(processors=[*first, structlog.processors.JSONRenderer()])
    try:
        try:
            raise ExceptionGroup("shards", [ValueError("shard 1"), KeyError("shard 2")])
        except ExceptionGroup as group:
            raise LookupError("search failed") from group
    except LookupError:
        structlog.get_logger().exception("failed")
    line = chain.line()
    assert (line["exception.type"], line["exception.message"]) == ("LookupError", "search failed")
    for part in ("shard 1", "shard 2", "ExceptionGroup: shards", "direct cause", "LookupError: search failed"):
        assert part in line["exception.stacktrace"]
    assert chain.record().attributes["exception.stacktrace"] == line["exception.stacktrace"]


def test_a_request_object_is_not_taken_apart(chain: Chain) -> None:
    request = Request({"type": "http", "headers": [(b"cookie", b"hunter2")], "method": "GET", "path": "/"})
    structlog.get_logger().info("event", request=request)
    assert "hunter2" not in json.dumps(chain.line())


def test_odd_events_do_not_take_their_neighbours_with_them(chain: Chain) -> None:
    log = structlog.get_logger()
    for number in range(10):
        log.info("good", number=number)
        log.info(CASES[number * 2].values[0], it=CASES[number * 2 + 1].values[0])  # odd as an event, too
        logging.getLogger("std").info(CASES[number].values[0])
    lines, records = chain.lines(), chain.records()
    assert [line["number"] for line in lines if line["event"] == "good"] == list(range(10))
    assert [record.attributes["number"] for record in records if record.body == "good"] == list(range(10))
    assert len(lines) == len(records) == 30


def test_an_exception_as_the_message_is_its_text(chain: Chain) -> None:
    logging.getLogger("std").error(ValueError("as message"))
    assert chain.line()["event"] == "as message"


def test_a_wrong_format_string_keeps_the_values(chain: Chain) -> None:
    logging.getLogger().handlers.clear()  # pytest's own would raise
    logging.getLogger("std").info("%d items", "many")
    line = chain.line()
    assert (line["event"], line["args"]) == ("%d items", ["many"])


def test_what_belongs_to_the_line_is_not_overwritten(chain: Chain) -> None:
    structlog.get_logger().info("event", level="gold", timestamp="then", logger="mine", trace_id="forged")
    line = chain.line()
    assert (line["level"], line["extra.level"], line["extra.timestamp"]) == ("info", "gold", "then")
    assert "trace_id" not in line
    assert line["extra.trace_id"] == "forged"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), anything, max_size=5))
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_value_becomes_one_strict_line(fields: dict[str, Any]) -> None:
    values = Values(Redactor())
    line = json_line({values.of_object(name): values.field(name, value) for name, value in fields.items()})
    assert line.splitlines() == [line]
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)
    json.loads(line, parse_constant=pytest.fail)


def test_the_time_is_utc_to_the_microsecond(chain: Chain) -> None:
    before = datetime.now(UTC)
    logging.getLogger("std").info("now")
    written = datetime.fromisoformat(chain.line()["timestamp"])
    assert before <= written <= datetime.now(UTC)
    assert written.tzinfo == UTC
