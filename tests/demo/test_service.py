"""The demo's service against its embedded engine: it is a real search service first."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import otel_search.demo
from otel_search.demo import catalogue, engine
from otel_search.demo.service.models import ProductFields
from otel_search.processes import Processes
from tests.demo.conftest import start_service

SERVICE = Path(otel_search.demo.__file__).parent


def get(service, path, **params):
    response = service.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


# -- the catalogue ----------------------------------------------------------------------------


def test_the_catalogue_is_the_same_in_every_process():
    program = "import json; from otel_search.demo import catalogue; print(json.dumps(list(catalogue.products())))"
    digests = {
        hashlib.sha256(
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
            ).stdout
        ).hexdigest()
        for seed in ("1", "2")
    }
    digests.add(hashlib.sha256((json.dumps(list(catalogue.products())) + "\n").encode()).hexdigest())
    assert len(digests) == 1


def test_the_catalogue_is_what_the_service_accepts_and_has_some_of_everything():
    products = list(catalogue.products())
    assert len(products) >= 2000
    assert len({product["id"] for product in products}) == len(products)
    for product in products:
        fields = ProductFields.model_validate(product)
        assert product["in_stock"] == (fields.stock > 0)
        assert 1 <= fields.rating <= 5
    assert len({product["category"] for product in products}) == 12
    assert len({product["brand"] for product in products}) == 24
    assert 100 < sum(not product["in_stock"] for product in products) < 500
    assert list(catalogue.products(10)) == products[:10]


# -- searching --------------------------------------------------------------------------------


def test_a_search_finds_its_words_and_counts_its_facets(service):
    result = get(service, "/products/search", q="running shoes", size=100)
    assert result["total"] == len(result["products"]) == 50
    for product in result["products"]:
        assert "running shoes" in product["name"]
    assert result["facets"]["category"] == [{"value": "running", "count": 50}]
    assert sum(facet["count"] for facet in result["facets"]["price"]) == 50
    assert result["did_you_mean"] == []


def test_filters_narrow_what_is_found(service):
    filters = {"category": ["kitchen", "garden"], "min_price": 20, "max_price": 80, "in_stock": True, "size": 100}
    expected = [
        product["id"]
        for product in catalogue.products()
        if product["category"] in filters["category"] and 20 <= product["price"] <= 80 and product["in_stock"]
    ]
    result = get(service, "/products/search", **filters)
    assert result["total"] == len(expected) > 100
    assert {product["id"] for product in result["products"]} < set(expected)


def test_a_brand_can_be_filtered_and_searched_for(service):
    of_brand = get(service, "/products/search", brand="Bexley & Roe")["total"]
    assert of_brand == sum(product["brand"] == "Bexley & Roe" for product in catalogue.products())
    expected = next(product for product in catalogue.products() if product["name"].startswith("Fjordane"))
    kind = expected["name"].partition(",")[0].split()[-1]
    found = get(service, "/products/search", q=f"fjordane {kind}", size=100)["products"]
    assert expected["id"] in [product["id"] for product in found]
    assert {product["brand"] for product in found} == {"Fjordane"}


def test_sorting_and_paging_walk_through_everything_once(service):
    pages = [
        get(service, "/products/search", category="audio", sort="cheapest", page=page, size=100)["products"]
        for page in (1, 2, 3)
    ]
    products = [product for page in pages for product in page]
    assert [len(page) for page in pages] == [100, 100, 0]
    assert len({product["id"] for product in products}) == 200
    prices = [product["price"] for product in products]
    assert prices == sorted(prices)


@pytest.mark.parametrize(("sort", "field"), [("dearest", "price"), ("best_rated", "rating"), ("newest", "added")])
def test_the_other_orders_begin_with_the_greatest(service, sort, field):
    values = [product[field] for product in get(service, "/products/search", sort=sort, size=50)["products"]]
    assert values == sorted(values, reverse=True)
    assert values[0] == max(product[field] for product in catalogue.products())


def test_a_search_without_hits_asks_for_the_spelling(service):
    result = get(service, "/products/search", q="hedphones")
    assert (result["total"], result["products"], result["did_you_mean"]) == (0, [], ["headphones"])


def test_suggestions_complete_the_last_word(service):
    names = get(service, "/products/suggest", q="trail running sh", limit=3)
    assert len(names) == 3
    assert all("trail running shoes" in name.lower() for name in names)


@pytest.mark.parametrize("query", ["size=1000", "page=0", "sort=random", "min_price=cheap", "colour=red"])
def test_a_bad_search_is_refused(service, query):
    response = service.get(f"/products/search?{query}")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_the_report_looks_at_every_product(service):
    report = get(service, "/products/report", since="2024-01-01")
    assert sum(brand["products"] for brand in report) >= 2400
    assert len(report) == 24


def test_the_brands_of_the_archive_are_missing_because_one_shard_fails(service):
    brands = get(service, "/products/brands")
    assert {brand["value"]: brand["count"] for brand in brands} == Counter(
        product["brand"] for product in catalogue.products()
    )


# -- writing ----------------------------------------------------------------------------------

PRODUCT = {"name": "Zephyr glass teapot", "category": "kitchen", "brand": "Tidewater", "price": 31.5, "stock": 3}


def test_a_product_can_be_added_read_found_and_deleted(service):
    added = service.post("/products", json=PRODUCT)
    assert added.status_code == 201
    identifier = added.json()["id"]
    assert added.json() == {**added.json(), **PRODUCT, "in_stock": True}
    assert get(service, f"/products/{identifier}") == added.json()
    assert [found["id"] for found in get(service, "/products/search", q="glass teapot")["products"]] == [identifier]
    assert service.delete(f"/products/{identifier}").status_code == 204
    assert get(service, "/products/search", q="glass teapot")["total"] == 0
    for method in ("GET", "DELETE"):
        missing = service.request(method, f"/products/{identifier}")
        assert (missing.status_code, missing.json()) == (404, {"detail": f"no product {identifier}"})


def test_an_import_has_a_result_for_each_item(service):
    items = [
        {"id": "IMPORT-1", "product": PRODUCT},
        {"id": "IMPORT-2", "product": {**PRODUCT, "price": "on request"}},
        {"id": "IMPORT-3", "product": {**PRODUCT, "colour": "red"}},
        {"id": "IMPORT-1", "overwrite": False, "product": PRODUCT},
        {"product": {"name": "nothing but a name"}},
    ]
    response = service.post("/products/bulk", json=items)
    assert response.status_code == 200
    result = response.json()
    assert (result["imported"], result["failed"]) == (2, 3)
    assert [item["status"] for item in result["items"]] == [201, 400, 400, 409, 201]
    assert [bool(item["error"]) for item in result["items"]] == [False, True, True, True, False]
    assert get(service, "/products/IMPORT-1")["in_stock"] is True
    assert get(service, f"/products/{result['items'][4]['id']}")["name"] == "nothing but a name"


def test_a_page_beyond_the_result_window_is_the_error_that_the_demo_shows(service):
    assert service.get("/products/search", params={"page": 500, "size": 50}).status_code == 500


def test_an_engine_that_has_gone_is_said_to_be_missing(tmp_path):
    with Processes(tmp_path) as processes:
        engine_url = engine.start_engine(processes, os.environ)
        with start_service(processes, engine_url, PRODUCTS_INDEX="other-products") as client:
            assert get(client, "/products/search")["total"] == 0
            processes.started[0].stop(10)
            response = client.get("/products/search")
    assert (response.status_code, response.json()) == (503, {"detail": "search is not available"})


# -- what the demo promises about its code ----------------------------------------------------


def test_there_is_no_line_of_telemetry_in_the_service():
    files = [SERVICE / "app.py", *(SERVICE / "service").glob("*.py")]
    assert len(files) == 6
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("opentelemetry"), f"{file.name} imports {name}"
                if name.startswith("otel_search"):
                    assert name.startswith("otel_search.demo.service"), f"{file.name} imports {name}"


@pytest.mark.parametrize(
    ("sent", "translated"),
    [
        (b'{"_source":{"exclude_vectors":false},"size":0}', {"size": 0}),
        (b'{"_source":{"exclude_vectors":true,"includes":["name"]}}', {"_source": {"includes": ["name"]}}),
        (b'{"size":1}', {"size": 1}),
        (b'{"name":"the \\"exclude_vectors\\" option"}', {"name": 'the "exclude_vectors" option'}),
        (b'{"settings":{"exclude_vectors":false}}', {"settings": {"exclude_vectors": False}}),
    ],
)
def test_only_the_option_of_a_search_is_left_out_for_the_engine(sent, translated):
    assert json.loads(engine.without_exclude_vectors(sent)) == translated
