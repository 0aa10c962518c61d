"""Who a request comes from: on its spans and its lines, under a pseudonym, and never in a metric."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import seen
from tests.changing_engine import ChangingEngine
from tests.service import Service, eventually, serve

USER, SESSION = "enduser.pseudo.id", "session.id"
NAME = re.compile(r"[0-9a-f]{32}")
KEY = {"OTEL_SEARCH_PSEUDONYM_KEY": "k3y"}
SOURCES = {"OTEL_SEARCH_CALLERS": "user=header:x-user-id,session=cookie:sid"}


@pytest.fixture(scope="module")
def engine() -> Iterator[ChangingEngine]:
    with ChangingEngine() as engine:
        yield engine


@pytest.fixture
def env(engine: ChangingEngine, tmp_path: Path) -> dict[str, str]:
    return {"ENGINE": engine.url, "TMPDIR": str(tmp_path), "OTEL_SEARCH_ADMIN_TOKEN": "s3cret"}


def caller(service: Service, answer: httpx.Response) -> tuple[str | None, str | None]:
    line = seen.access_line(service, answer)
    span = seen.server_span(service, answer)
    assert (line.get(USER), line.get(SESSION)) == (span.attributes.get(USER), span.attributes.get(SESSION))
    return line.get(USER), line.get(SESSION)


def test_headers_and_cookies_named_in_settings(env: dict[str, str]) -> None:
    with serve("callers:app", env={**env, **KEY, **SOURCES}, ready="/docs") as service:
        headers = {"x-user-id": "alice@example.com", "cookie": "a=b; sid=s3ss10n; c=d"}
        answer = service.get("/search", headers=headers)
        user, session = caller(service, answer)
        assert user is not None
        assert session is not None
        assert NAME.fullmatch(user)
        assert NAME.fullmatch(session)
        trace = answer.headers["x-trace-id"]
        spans = service.recording.wait_for(lambda all_: len(found := all_.trace(trace)) == 2 and found)
        assert {(span.attributes[USER], span.attributes[SESSION]) for span in spans} == {(user, session)}
        assert service.event(event="before the search")[USER] == user
        eventually(lambda: seen.records(service, body="request completed", **{USER: user}))
        # Another user, the same session; nobody; a header twice; one that is too long.
        assert caller(service, service.get("/search", headers={**headers, "x-user-id": "bob"}))[1] == session
        assert caller(service, service.get("/search")) == (None, None)
        twice = httpx.get(f"{service.url}/search", headers=[("x-user-id", "alice"), ("x-user-id", "bob")])
        assert caller(service, twice) == (None, None)
        assert caller(service, service.get("/search", headers={"x-user-id": "x" * 5000})) == (None, None)
        text = service.get("/metrics").text
        eventually(lambda: seen.count(service) >= 5)
        told = json.dumps([point.attributes for point in service.recording.metrics]) + text
        for secret in (user, session, "alice", "s3ss10n", "enduser", "session_id"):
            assert secret not in told
        assert "s3ss10n" not in service.output()
        assert "alice" not in service.output()


def test_an_application_says_it_itself(env: dict[str, str]) -> None:
    with serve("callers:app", env={**env, **KEY}, ready="/docs") as service:
        answer = service.get("/known", headers={"x-is": "alice"})
        user, session = caller(service, answer)
        assert user is not None
        assert session is not None
        assert user != session
        assert USER not in service.event(event="before it is known")
        for event in ("after it is known", "in the background"):
            assert (service.event(event=event)[USER], service.event(event=event)[SESSION]) == (user, session)
        trace = answer.headers["x-trace-id"]
        spans = service.recording.wait_for(lambda all_: len(found := all_.trace(trace)) == 2 and found)
        assert {span.attributes[USER] for span in spans} == {user}
        threaded = service.get("/threaded", headers={"x-is": "alice"})
        assert caller(service, threaded) == (user, None)
        assert service.event(event="in a thread")[USER] == user
        boom = service.get("/boom", headers={"x-is": "alice"})
        assert (boom.status_code, caller(service, boom)) == (500, (user, None))
        odd = service.get("/odd")
        assert (odd.status_code, odd.json()) == (200, "still here")
        assert NAME.fullmatch(caller(service, odd)[0] or "")
        # Nobody's traces are left on the next request.
        assert caller(service, service.get("/search")) == (None, None)


def test_a_hook_knows_the_subject_of_a_token(env: dict[str, str]) -> None:
    def token(subject: str) -> dict[str, str]:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
        return {"authorization": f"Bearer e30.{claims}.signature"}

    raw = {"OTEL_SEARCH_CALLER_IDS": "raw", "HOOK": "1"}
    with serve("callers:app", env={**env, **raw}, ready="/docs") as service:
        assert caller(service, service.get("/search", headers=token("u-42"))) == ("u-42", None)
        assert caller(service, service.get("/search", headers=token("a b\nc"))) == (None, None), "no id, not told"
        # It fails at a request without a token: the request is served, and that is said once.
        assert [service.get("/search").status_code for _ in range(3)] == [200] * 3
        lines = service.events(logger="otel_search.callers")
        assert [line["event"] for line in lines] == [
            "who a request comes from cannot be told: hook failed with KeyError"
        ]
        late = service.get("/search", headers={"x-late": "u-7"})
        assert caller(service, late) == ("u-7", "7"), "the application's middleware knows it first"


@pytest.mark.parametrize("session", ["cookie:sid", "header:x-api-key"])
def test_raw_ids_and_a_cookie_that_lets_people_in(env: dict[str, str], session: str) -> None:
    more = {"OTEL_SEARCH_CALLERS": f"user=header:x-user-id,session={session}", "OTEL_SEARCH_CALLER_IDS": "raw"}
    with serve("callers:app", env={**env, **more}, ready="/docs") as service:
        headers = {"x-user-id": "u-42", "cookie": "sid=s3ss10n", "x-api-key": "s3ss10n"}
        user, found = caller(service, service.get("/search", headers=headers))
        assert user == "u-42"
        assert NAME.fullmatch(found or "")


def test_workers_of_one_server_give_the_same_names(env: dict[str, str], tmp_path: Path) -> None:
    def names(more: dict[str, str]) -> set[str | None]:
        with serve("callers:app", "--workers", "3", env={**env, **SOURCES, **more}, ready="/docs") as service:
            eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
            answers = [service.get("/search", headers={"x-user-id": "alice"}) for _ in range(24)]
            lines = [seen.access_line(service, answer) for answer in answers]
            spans = [seen.server_span(service, answer) for answer in answers]
            assert len({span.resource["service.instance.id"] for span in spans}) > 1, "more than one worker answered"
            return {line[USER] for line in lines}

    first, second, keyed, again = names({}), names({}), names(KEY), names(KEY)
    assert [len(each) for each in (first, second, keyed, again)] == [1] * 4
    assert first != second, "a random key for each server"
    assert keyed == again, "a key that is set joins them"
