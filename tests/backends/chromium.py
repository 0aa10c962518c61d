"""Find Chromium for the tests of the viewer's page, or install Debian's where that is allowed.

    python -m tests.backends.chromium

Does nothing where Chromium is there. Else, if OTEL_SEARCH_REQUIRE_BACKENDS is 1 and it runs as root on a
Debian system, it asks apt for it. Ends with 3 where there is none; the tests then skip with a notice, or
fail with OTEL_SEARCH_REQUIRE_BACKENDS=1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
EXIT_MISSING = 3

ARGUMENTS = (
    "--no-sandbox",  # which cannot be had as root, in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Nothing but the page that is tested is asked for.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The path of Chromium, or `None`."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def install() -> bool:
    """Install Debian's Chromium; whether that went well."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "--quiet"],
        ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "chromium"],
    ):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            print("\n".join(result.stderr.splitlines()[-5:]), file=sys.stderr)
            return False
    return find() is not None


def main() -> int:
    """Make sure that there is one; the exit status."""
    path = find()
    if path is None and os.environ.get("OTEL_SEARCH_REQUIRE_BACKENDS") == "1":
        print("chromium: asking apt for it", flush=True)
        if not install():
            print("chromium: not installed, and apt cannot install it here", file=sys.stderr)
            return EXIT_MISSING
        path = find()
    if path is None:
        return EXIT_MISSING
    print(f"chromium: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
