"""What holds for any text: nothing raises, nothing takes long, twice is once, no secret survives."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_search.redaction import Redactor, counts, marker
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
