"""docs/redaction.md says what the table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otel_search.redaction.table import KEYS, SHAPES

PAGE = Path(__file__).parents[2] / "docs" / "redaction.md"


def tables() -> dict[str, str]:
    names = [
        "| the marker says | names | and those that end with | in URLs only | of lists and mappings only | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in KEYS:
        words = (_words(row.names), _words(row.endings, "…_"), _words(row.in_urls), _words(row.of_many))
        names.append(f"| {row.kind} | {' | '.join(words)} | {'with `pii`' if row.personal else ''} |")
    shapes = ["| what | the marker says | |", "| --- | --- | --- |"]
    shapes += [f"| {row.name} | {row.kind} | {'with `pii`' if row.personal else ''} |" for row in SHAPES]
    return {"names": "\n".join(names), "shapes": "\n".join(shapes)}


def _words(words: tuple[str, ...], before: str = "") -> str:
    return " ".join(f"`{before}{word}`" for word in words)


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}: [^\n]*-->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", ["names", "shapes"])
def test_its_tables_are_generated(name: str) -> None:
    found = _between(name).search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[2].strip() == tables()[name], "python -m tests.redaction.test_documentation writes it anew"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables().items():
        text = _between(name).sub(lambda match, table=table: f"{match[1]}{table}\n{match[3]}", text)
    PAGE.write_text(text, encoding="utf-8")
