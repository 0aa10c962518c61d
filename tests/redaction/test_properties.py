"""What holds for any text: nothing raises, nothing takes long, twice is once, no secret survives."""

from __future__ import annotations

import json
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_search.redaction import Redactor, collector, counts, marker, suspects
from otel_search.redaction.table import KEYS, SHAPES

from .examples import EXAMPLES, in_context

redactor = Redactor(["Customer-PIN"], mode="pii")

_PIECES = st.sampled_from(
    ["token", "password", "code", "=", "%2574oken", "%253D", "Bearer%20", "&", "?", "#", ";", ":", " ", "'", '"', "\\",
     "%3D", "%", "(b'", "@", "x://", "Bearer ", "Basic ", "eyJabcdefgh.", "[redacted]", "[redacted: token]", "[", "]",
     ",", "\n", "M4rk3r", "Cookie: ", "{", "}", "--password ", "4111 1111 1111 1111", "4111", " 1111", "+49", "AKIA",
     "IOSFODNN7EXAMPLE", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "null", 'b"', "http://a:b@c",
     "jane@example.com", "authorization", "[redacted: ", "password: "]
)  # fmt: skip
_HARMLESS_WORDS = st.sampled_from(
    [
        "lamp",
        "red",
        "q=lamp",
        "page=2",
        "12.5",
        "searching",
        "for",
        "the",
        "best",
        "offers",
        "in-stock",
        "{'a':",
        "1}",
        "[3]",
        "2026-11-25T03:04:05Z",
        "café",
        "4711",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=20).map("".join) | st.text())
def test_redacting_twice_changes_nothing_and_counts_nothing(text: str) -> None:
    once = redactor.text(text)
    query = redactor.query_string(text)
    before = counts()
    assert redactor.text(once) == once
    assert redactor.query_string(query) == query
    assert counts() == before


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EXAMPLES), st.text(), st.text(), st.sampled_from(" \n\t,;|<>()"), st.sampled_from(" \n\t,|<>()"))
def test_no_secret_survives_whatever_stands_around_it(
    example: tuple[str, str, str], before: str, after: str, left: str, right: str
) -> None:
    _, text, secret = example
    # Quotes and equals signs around it would make it another text's value, which is hidden as a whole.
    hidden = redactor.text(f"{before}{left}{text}{right}{after}")
    assert secret not in hidden or secret in before + after


@settings(max_examples=200, deadline=None)
@given(st.lists(_HARMLESS_WORDS, max_size=30).map(" ".join))
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    assert redactor.text(text) == text
    assert redactor.query_string(text) == text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.ascii_lowercase + " .,:\n/", max_size=200))
def test_prose_without_names_of_secrets_stays_as_it_is(text: str) -> None:
    if not any(word in text for row in KEYS for guard in row.guards for word in guard.split()):
        assert Redactor().text(text) == text


@pytest.mark.parametrize(
    "piece",
    [
        "a", "a=", "?x=%25%25", "x=?", "&a=%3D", "%25", 'token="', "'token': '", '"token":', "x://a@", "://", "(b'",
        "_-", "a.eyJ", "-eyJ", "eyJ", "eyJaaaaaaaa.", "?a='%", "Bearer ", "Basic a", "basic ", "\\", '\\"', '\\"token\\":\\"', "1",
        "1 ", "4111-", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "--token ", "token: ", "x-token:",
        "a@", "a@a.", "@", "+1", "+1 ", "==", "AAAA==", "xoxb-", "sk_live_", "glpat-", "hooks.slack.com/services/", '"token": [',
        "[redacted: ", "[redacted: token]", "password=[redacted: token", "ghp_", "%7B%22", "a.", "a[",
    ],
)  # fmt: skip
def test_the_time_does_not_explode_with_the_length(piece: str) -> None:
    # With one quadratic step each of these would take minutes.
    hostile = piece * (100_000 // len(piece))
    for ending in ("", "=%", "\"'"):
        assert redactor.query_string(hostile + ending) is not None
        assert redactor.text(hostile + ending) is not None


def test_names_that_callers_choose_do_not_fill_the_memory() -> None:
    fresh = Redactor()
    for number in range(50):
        assert fresh.query_string(f"{'n' * 5000}{number}_token=M4rk3r").endswith(f"={marker('token')}")
    assert fresh._names._known.cache_info().currsize == 0


def test_every_guard_is_in_what_its_row_can_match() -> None:
    for row in KEYS:
        for name in (*row.names, *row.endings):
            assert any(all(word in name for word in guard.split()) for guard in row.guards), name
    for shape in SHAPES:
        text = in_context(shape)
        where = text.lower() if shape.any_case else text
        assert not shape.guards or any(guard in where for guard in shape.guards), shape.name


def _rules_match(texts: list[str]) -> bool:
    """Whether a rule of the Collector matches one of the texts as it is, or what it says in JSON."""
    written = [*texts, json.dumps(texts, separators=(",", ":"), ensure_ascii=False)]
    return any(rule.search(text) for rule in _RULES for text in written)


_RULES = [re.compile(pattern) for pattern, _ in collector.replacements()]
_TERMS = suspects.terms(
    [row for row in KEYS if not row.personal],
    [row for row in SHAPES if not row.personal],
)
_FOLDED = st.sampled_from(
    ["pa\u017f\u017fword", "to\u212aen", "TOKEN", "Api Key", "x-api.key", "sig=", "\f", "\x0b", "\r", "<", "\\n"]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(_PIECES | _FOLDED, max_size=8).map("".join) | st.text(), max_size=3))
def test_where_a_rule_of_the_collector_matches_a_quick_condition_does(texts: list[str]) -> None:
    values = json.dumps(texts, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&":
        values = values.replace(sign, f"\\u{ord(sign):04x}")
    suspect = any(suspects.holds(term, values, values.lower()) for term in _TERMS)
    assert suspect or not _rules_match(texts)


@pytest.mark.parametrize(
    "text",
    [
        "lamp",
        '{"max_tokens": 5, "query": {"multi_match": {"query": "?", "fields": ["title^3"]}}, "highlight": {}}',
        "2026-11-25T03:04:05Z",
        "https://shop.example/search?q=lamp&page=2",
        "POST /basic/search",
        "SELECT * FROM tokens WHERE id = ? -- by id",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "/usr/bin/java -Xmx2g -jar /srv/shop.jar --server.port=8080",
        "shop.example/search@sha256:afcc7f1ac1b49db317a7196c902e61c6c3c4607d63599ee1a82d702d249a0ccb",
        "5f0c9a52-8f7d-4c3e-9b1a-2d6e8f7a9c01",
    ],
)
def test_ordinary_telemetry_is_not_suspect(text: str) -> None:
    values = json.dumps([text])
    assert not [term for term in _TERMS if suspects.holds(term, values, values.lower())]
