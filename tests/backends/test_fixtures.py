"""What happens to a test when the backends that it needs are not built."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[[str], tuple[int, str]]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a test that asks for the backends, with an empty cache; return pytest's output."""
    (tmp_path / "test_needy.py").write_text("def test_needy(backends):\n    pass\n", encoding="utf-8")

    def run_with(value: str) -> tuple[int, str]:
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OTEL_SEARCH_REQUIRE_BACKENDS": value}
        command = [sys.executable, "-m", "pytest", "-rs", "-p", "tests.backends.fixtures", f"--rootdir={tmp_path}"]
        result = subprocess.run(
            [*command, "-c", os.devnull, str(tmp_path / "test_needy.py")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return result.returncode, result.stdout

    return run_with


def test_missing_backend_skips_with_a_notice(run: Run) -> None:
    status, output = run("0")

    assert status == 0
    assert "1 skipped" in output
    assert "prometheus is not built: run `make backends`" in output


def test_missing_backend_fails_where_backends_are_required(run: Run) -> None:
    status, output = run("1")

    assert status == 1
    assert "prometheus is not built: run `make backends` (OTEL_SEARCH_REQUIRE_BACKENDS=1 forbids to skip)" in output


def test_requirement_with_another_value_is_refused(run: Run) -> None:
    status, output = run("yes")

    assert status == 1
    assert "OTEL_SEARCH_REQUIRE_BACKENDS='yes' is not valid" in output
