"""The page as a person sees it: Chromium at work on the demo."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect

from tests.backends import chromium
from tests.backends.fixtures import skip_or_fail
from tests.service import eventually
from tests.viewer.browser import browser, demo
from tests.viewer.telemetry import gauge, lines, search

TIMEOUT = 60_000
DURATION = "http.server.request.duration"
VIEWS = ("/", "/traces", "/searches", "/logs", "/metrics", f"/metrics/{DURATION}", "/health", "/map", "/nowhere")

expect.set_options(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def chrome():
    if chromium.find() is None:
        skip_or_fail("Chromium is not installed: run `make browser`, or install it")
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(chrome):
    with demo() as address:
        yield address


@pytest.fixture
def open_page(chrome):
    """Opens pages, and fails the test for anything that goes wrong in them or leaves this machine."""
    complaints = []
    contexts = []

    def opened(address, width=1360, scheme="light"):
        context = chrome.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" and "404" not in said.text else None,
        )
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        origin = "/".join(address.split("/")[:3])
        page.on("request", lambda asked: None if asked.url.startswith(f"{origin}/") else complaints.append(asked.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def test_the_slow_search_is_found_opened_and_understood(url, open_page):
    page = open_page(url)
    page.get_by_role("link", name="Searches").click()
    page.get_by_role("link", name="p95").click()
    expect(page.locator("th[aria-sort]")).to_contain_text("p95")
    page.locator("td.shape a").first.click()
    expect(page.locator("pre.block")).to_contain_text('"date_histogram"')
    page.locator("section", has=page.get_by_role("heading", name="Slowest")).locator("a.row").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("/products/report")
    call = page.locator("details.span.call")
    expect(call).to_have_attribute("open", "")  # the address names it
    expect(call.locator(".chips")).to_contain_text(re.compile(r"took .* of .*query bool.*hits 24\d\d"))
    expect(call.locator(".query pre").first).to_contain_text('"percentiles"')
    expect(page.locator(".line .event", has_text="request completed")).to_be_visible()
    page.reload()
    expect(call).to_have_attribute("open", "")


def test_the_partial_search_names_the_shard_that_failed(url, open_page):
    page = open_page(f"{url}/traces?outcome=partial&route=/products/brands")
    page.locator("a.row").first.click()
    expect(page.locator(".chip.alarming")).to_have_text("failed shards 1")
    page.locator(".span.call > summary").click()
    expect(page.locator(".span.call .attributes", has_text="search.failure")).to_contain_text(
        "illegal_argument_exception"
    )
    page.get_by_role("link", name="All searches of this shape").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("products,products-archive")


def test_traces_are_searched_by_the_form(url, open_page):
    page = open_page(f"{url}/traces")
    page.keyboard.press("/")
    page.keyboard.type("hedphones")
    page.keyboard.press("Enter")
    page.wait_for_url("**/traces?q=hedphones")
    expect(page.locator("a.row").first).to_contain_text("no hits")
    page.get_by_label("Status").select_option("5xx")
    expect(page.locator(".empty")).to_contain_text("No such trace")
    page.get_by_role("link", name="Reset").click()
    page.wait_for_url(f"{url}/traces")
    page.locator("a.row").first.wait_for()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/traces/[0-9a-f]{32}"))


def test_an_exemplar_leads_to_its_trace(url, open_page):
    page = open_page(f"{url}/metrics/{DURATION}")
    page.get_by_role("button", name="Live").click()  # so that the list stands still
    row = page.locator(".exemplars a.row").first
    identifier = re.search(r"[0-9a-f]{32}", row.get_attribute("href"))[0]
    row.click()
    expect(page.locator("#trace-id")).to_have_text(identifier)


def opens_a_trace(page, over, x, height):
    """Go down the chart at `x` and click on points that can be clicked, until one opens its trace; whether one does."""
    for y in range(2, height, 6):
        over.hover(position={"x": x, "y": y})
        if page.locator(".plot.clickable").count():
            over.click(position={"x": x, "y": y})
            with contextlib.suppress(Error):
                page.wait_for_url(re.compile(r"/traces/[0-9a-f]{32}"), timeout=5_000)
                return True
    return False


def exemplar_times(page):
    """Where the chart's exemplars are, from 0 to 1 of its width."""
    data = json.loads(page.locator("#chart-percentiles").get_attribute("data-chart"))
    first, last = data["times"][0], data["times"][-1]
    places = {(point["time"] - first) / (last - first) for point in data["points"]} if last > first else set()
    return sorted(place for place in places if 0 <= place <= 1)


def test_an_exemplar_in_the_chart_can_be_clicked(url, open_page):
    def opened():
        page = open_page(f"{url}/metrics/{DURATION}?window=5m")
        page.get_by_role("button", name="Live").click()
        over = page.locator("#chart-percentiles .u-over")
        over.wait_for()
        box = over.bounding_box()
        # How high a point is, the chart decides; one may lie above it, and there may be none yet.
        places = [min(max(place * box["width"], 1), box["width"] - 1) for place in exemplar_times(page)]
        return any(opens_a_trace(page, over, x, int(box["height"])) for x in places) and page

    page = eventually(opened, timeout=120)
    expect(page.locator("#trace-id")).to_be_visible()


def test_what_comes_is_seen_without_reloading_and_stands_still_when_paused(url, open_page):
    page = open_page(url)
    page.evaluate("window.same = true")
    total = page.locator(".tile .sub").first
    before = total.text_content()
    expect(total).not_to_have_text(before)
    assert page.evaluate("window.same")
    assert page.locator("#chart-rate canvas").count() == 1
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")


def test_log_lines_come_in_at_the_top_and_those_that_are_open_stay_open(url, open_page):
    page = open_page(f"{url}/logs")
    first = page.locator(".line").first
    identifier = first.get_attribute("id")
    first.locator("> summary").click()
    expect(page.locator(".line").first).not_to_have_attribute("id", identifier)
    expect(page.locator(f"#{identifier}")).to_have_attribute("open", "")
    numbers = [int(line.get_attribute("id")[4:]) for line in page.locator(".line").all()[:50]]
    assert numbers == sorted(set(numbers), reverse=True)


@pytest.mark.parametrize("width", [1360, 820, 360])
def test_nothing_sticks_out_of_the_page(url, open_page, width):
    page = open_page(url, width=width)
    trace = page.request.get(f"{url}/traces?outcome=partial").text()
    trace = re.search(r'href="(/traces/[0-9a-f]{32})"', trace)[1]
    shape = re.search(r'href="(/searches/[^"?]+)', page.request.get(f"{url}/searches").text())[1]
    for view in (*VIEWS, trace, shape):
        page.goto(url + view)
        page.evaluate("document.fonts.ready")
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, view
        clipped = page.evaluate(
            """[...document.querySelectorAll('h1, h2, .tile dd, .tag, button, .chips')].filter(
                 (element) => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1 &&
                 getComputedStyle(element).display !== 'inline').map((element) => element.textContent)"""
        )
        assert clipped == [], view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(url, open_page, scheme):
    page = open_page(url, scheme=scheme)
    page.get_by_role("button", name="Live").click()
    trace = re.search(r'href="(/traces/[0-9a-f]{32})"', page.request.get(f"{url}/traces?outcome=partial").text())[1]
    shape = re.search(r'href="(/searches/[^"?]+)', page.request.get(f"{url}/searches").text())[1]
    for view in (*VIEWS, trace, shape):
        page.goto(url + view)
        for button in page.locator("[data-toggle-all]").all():
            button.click()
        found = Axe().run(page).response["violations"]
        assert [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3]) for violation in found
        ] == [], view


def test_no_script_of_a_sender_runs(chrome, running, open_page):
    script = """<script>alert(1)</script><img src=x onerror=alert(2)>"'<svg onload=alert(3)>"""
    identifier, request = search(
        text=script, service=script, route=f"/{script}", more={"db.query.text": script, script: script}
    )
    running.send(
        request,
        lines(script, trace=identifier, logger=script, **{script: script}),
        gauge(1, service=script, **{"search.health.component": script}),
        gauge(1, name="a.metric", service=script, a=script),
    )
    page = open_page(running.viewer.url)
    for view in ("/", "/traces", f"/traces/{identifier}", "/searches", "/logs", "/metrics/a.metric", "/health", "/map"):
        page.goto(running.viewer.url + view)
        for button in page.locator("[data-toggle-all]").all():
            button.click()
        assert page.locator("img").count() == 0
        assert page.locator("svg[onload]").count() == 0
