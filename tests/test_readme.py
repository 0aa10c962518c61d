"""The README's examples run, and its settings are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from otel_search import settings

from .service import serve
from .stub_engine import stub_engine

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
MARK = "<!-- settings: generated from otel_search/settings/, held by tests/test_readme.py -->\n"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_settings_table_is_generated() -> None:
    between = TEXT.partition(MARK)[2].partition("<!-- /settings -->")[0]
    assert between.strip() == settings.table(), "python -m tests.test_readme writes it anew"


def test_the_application_runs_under_the_launcher_as_it_stands(tmp_path: Path) -> None:
    with stub_engine({"hits": {"total": {"value": 1}, "hits": [{"_source": {"name": "lamp"}}]}}) as engine:
        code = examples()[0].replace("http://127.0.0.1:9200", engine)
        (tmp_path / "app.py").write_text(code)
        with serve("app:app", "--app-dir", str(tmp_path), ready="/docs") as service:
            response = service.get("/products/search?q=lamp")
            assert response.json() == [{"name": "lamp"}]
            trace_id = response.headers["x-trace-id"]
            spans = service.recording.wait_for(
                lambda recording: len(recording.trace(trace_id)) == 2 and recording.trace(trace_id)
            )
            assert {span.name for span in spans} == {"GET /products/search", "search products"}
            line = service.event(event="products searched")
            assert (line["trace_id"], line["hits"]) == (trace_id, 1)


def test_the_code_without_the_launcher_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(examples()[1])
    with serve("app:app", "--app-dir", str(tmp_path), ready="/docs", launcher=False) as service:
        response = service.get("/openapi.json")
        assert json.loads(response.text)["info"]["title"] == "FastAPI"
        trace_id = response.headers["x-trace-id"]
        (span,) = service.recording.wait_for(lambda recording: recording.trace(trace_id))
        assert span.name == "GET /openapi.json"


if __name__ == "__main__":
    before, mark, rest = TEXT.partition(MARK)
    after = rest.partition("<!-- /settings -->")[2]
    README.write_text(f"{before}{mark}{settings.table()}\n<!-- /settings -->{after}", encoding="utf-8")
