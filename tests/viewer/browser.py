"""The demo with its page, and Chromium to look at it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.backends import chromium

COMMAND = Path(sys.executable).with_name("otel-search")


@contextlib.contextmanager
def demo() -> Iterator[str]:
    """Run `otel-search demo` until its load is done and goes on; the address of its page."""
    with subprocess.Popen(
        [COMMAND, "demo", "--port", "0"],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output = ""
            assert process.stdout is not None
            for line in process.stdout:
                output += line
                if "Ctrl-C ends it all" in line:
                    break
            found = re.match(r"Viewer +(http://127\.0\.0\.1:\d+) ", output)
            assert found, output
            yield found[1]
        finally:
            process.terminate()  # not kill: it has processes of its own to end
            process.communicate(timeout=60)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium.find(), args=list(chromium.ARGUMENTS))
        try:
            yield opened
        finally:
            opened.close()
