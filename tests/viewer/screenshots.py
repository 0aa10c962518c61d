"""The pictures in docs/images, from the demo: `make screenshots`."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.viewer.browser import browser, demo

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def main() -> None:
    """Take them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with demo() as url, browser() as chromium:
        page = chromium.new_context(viewport={"width": 1240, "height": 760}, color_scheme="light").new_page()
        page.goto(f"{url}/?window=5m")
        # So that there is something to see over time.
        total = page.locator(".tile .sub").first
        expect(total).to_have_text(re.compile(r"(2[5-9]|[3-9]\d)\d in 5m"), timeout=180_000)
        page.screenshot(path=IMAGES / "viewer-now.png")
        page.goto(f"{url}/traces?outcome=partial&route=/products/brands")
        page.locator("a.row").first.click()
        page.locator(".span.call > summary").click()
        page.screenshot(path=IMAGES / "viewer-trace.png")


if __name__ == "__main__":
    main()
