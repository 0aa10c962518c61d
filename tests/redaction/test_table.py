"""Each row of the table does what it says: one example, and one text that only looks alike."""

from __future__ import annotations

import pytest

from otel_search.redaction import Redactor, counts, marker
from otel_search.redaction.table import KEYS, SHAPES, Key, Shape

from .examples import EXAMPLES, in_context


def of(row: Key | Shape) -> Redactor:
    return Redactor(mode="pii" if row.personal else "secrets")


@pytest.mark.parametrize("row", SHAPES, ids=lambda row: row.name)
def test_a_shapes_example_is_hidden_and_its_counterexample_is_not(row: Shape) -> None:
    text = in_context(row)
    assert of(row).text(f"it says {text}, and more") == (
        f"it says {text.replace(row.example, marker(row.kind))}, and more"
    )
    assert of(row).text(row.harmless) == row.harmless


@pytest.mark.parametrize("row", KEYS, ids=lambda row: row.kind)
def test_a_names_example_is_hidden_and_its_counterexample_is_not(row: Key) -> None:
    name, secret = row.example
    assert of(row).text(f"{name}={secret} and more") == f"{name}={marker(row.kind)} and more"
    assert of(row).text(row.harmless) == row.harmless


@pytest.mark.parametrize("row", [row for row in (*KEYS, *SHAPES) if row.personal], ids=lambda row: row.kind)
def test_personal_data_stay_unless_asked_for(row: Key | Shape) -> None:
    text = f"{row.example[0]}={row.example[1]}" if isinstance(row, Key) else in_context(row)
    assert Redactor().text(text) == text


@pytest.mark.parametrize(("kind", "text", "secret"), EXAMPLES, ids=[text for _, text, _ in EXAMPLES])
def test_what_is_hidden_is_counted_by_its_kind(kind: str, text: str, secret: str) -> None:
    before = counts()
    Redactor(mode="pii").text(f"it says {text} and more")
    after = counts()
    assert {name: number - before.get(name, 0) for name, number in after.items() if number != before.get(name, 0)} == {
        kind: 1
    }


def test_what_comes_again_is_counted_again() -> None:
    redactor = Redactor()
    before = counts().get("token", 0)
    for _ in range(3):
        redactor.text("token=short")
        redactor.text("nothing of that kind")
    assert counts()["token"] == before + 3
