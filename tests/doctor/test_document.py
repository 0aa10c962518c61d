"""docs/doctor.md names every finding, and every finding has a test that makes it."""

from __future__ import annotations

import re
from pathlib import Path

from otel_search.doctor import checks as _  # noqa: F401 - they register themselves
from otel_search.doctor import finding

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "doctor.md"
MARK = "<!-- findings: generated from otel_search/doctor/checks, held by tests/doctor/test_document.py -->\n"
END = "<!-- /findings -->"


def test_the_table_of_findings_is_generated() -> None:
    between = DOCUMENT.read_text(encoding="utf-8").partition(MARK)[2].partition(END)[0]
    assert between.strip() == finding.table(), "python -m tests.doctor.test_document writes it anew"


def test_every_finding_is_made_by_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    made = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', tests))
    assert set(finding.CHECKS) - made == set()


def test_every_finding_says_what_to_do_in_one_line() -> None:
    for check in finding.CHECKS.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", check.name)
        assert len(check.do) < 160, check.name
        assert "\n" not in check.do + check.title


if __name__ == "__main__":
    before, mark, rest = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{mark}{finding.table()}\n{END}{after}", encoding="utf-8")
