"""The products index: its mapping, and the searches on it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from elasticsearch import dsl
from elasticsearch.dsl import query

from otel_search.demo.service.config import ARCHIVE_INDEX, PRODUCTS_INDEX
from otel_search.demo.service.models import Sort

if TYPE_CHECKING:
    from otel_search.demo.service.models import SearchFilters

PRICE_RANGES = ((None, 25), (25, 50), (50, 100), (100, 250), (250, None))

_SORTS: dict[Sort, tuple[str, ...]] = {
    Sort.RELEVANCE: ("_score", "-rating"),
    Sort.CHEAPEST: ("price",),
    Sort.DEAREST: ("-price",),
    Sort.BEST_RATED: ("-rating", "-added"),
    Sort.NEWEST: ("-added",),
}


class Product(dsl.AsyncDocument):
    """A product in the index."""

    name: str = dsl.mapped_field(dsl.Text(analyzer="english", fields={"typed": dsl.SearchAsYouType()}))
    description: str = dsl.mapped_field(dsl.Text(analyzer="english"))
    category: str = dsl.mapped_field(dsl.Keyword())
    brand: str = dsl.mapped_field(dsl.Keyword(fields={"words": dsl.Text(analyzer="english")}))
    price: float = dsl.mapped_field(dsl.ScaledFloat(scaling_factor=100))
    rating: float = dsl.mapped_field(dsl.HalfFloat())
    stock: int = dsl.mapped_field(dsl.Integer())
    in_stock: bool = dsl.mapped_field(dsl.Boolean())
    added: dt.date = dsl.mapped_field(dsl.Date())

    class Index:
        """Small enough for one shard."""

        name = PRODUCTS_INDEX
        settings = {"number_of_shards": 1, "number_of_replicas": 0}  # noqa: RUF012  as the DSL wants it

    class Meta:
        """No field that was not thought of."""

        dynamic = dsl.MetaField("strict")

    @property
    def id(self) -> str:
        """The product's id in the index."""
        return self.meta.id


def search(filters: SearchFilters) -> dsl.AsyncSearch[Product]:
    """Full-text search with filters, and with facets over everything found."""
    found = Product.search()
    if filters.q:
        found = found.query(
            query.MultiMatch(
                query=filters.q,
                fields=["name^3", "brand.words^2", "description"],
                type="cross_fields",
                operator="and",
            )
        )
    if filters.category:
        found = found.filter(query.Terms(category=filters.category))
    if filters.brand:
        found = found.filter(query.Terms(brand=filters.brand))
    if filters.in_stock is not None:
        found = found.filter(query.Term(in_stock=filters.in_stock))
    limits = {"gte": filters.min_price, "lte": filters.max_price}
    limits = {name: limit for name, limit in limits.items() if limit is not None}
    if limits:
        found = found.filter(query.Range("price", limits))

    found.aggs.bucket("category", dsl.A("terms", field="category", size=20))
    found.aggs.bucket("brand", dsl.A("terms", field="brand", size=10))
    ranges = [
        {name: limit for name, limit in (("from", low), ("to", high)) if limit is not None}
        for low, high in PRICE_RANGES
    ]
    found.aggs.bucket("price", dsl.A("range", field="price", ranges=ranges))

    first = (filters.page - 1) * filters.size
    return found.sort(*_SORTS[filters.sort]).extra(track_total_hits=True)[first : first + filters.size]


def spelling(text: str) -> dsl.AsyncSearch[Product]:
    """Words of the catalogue that are close to those of a search that found nothing."""
    return Product.search().suggest("spelling", text, term={"field": "name.typed"}).extra(size=0)


def names_starting_with(prefix: str, limit: int) -> dsl.AsyncSearch[Product]:
    """Products whose name has these words, the last of them perhaps unfinished."""
    fields = ["name.typed", "name.typed._2gram", "name.typed._3gram"]
    typed = query.MultiMatch(query=prefix, type="bool_prefix", operator="and", fields=fields)
    return Product.search().query(typed).source(["name"])[:limit]


def brands_by_month(since: dt.date) -> dsl.AsyncSearch[Product]:
    """Every brand, category and month with its prices and best products: as heavy as it sounds."""
    report = Product.search().filter(query.Range("added", {"gte": since.isoformat()})).extra(size=0)
    brands = report.aggs.bucket("brands", dsl.A("terms", field="brand", size=100))
    brands.metric("price", dsl.A("percentiles", field="price", percents=[50]))
    categories = brands.bucket("categories", dsl.A("terms", field="category", size=50))
    months = categories.bucket("months", dsl.A("date_histogram", field="added", calendar_interval="month"))
    months.metric("price", dsl.A("percentiles", field="price", percents=[5, 25, 50, 75, 95]))
    months.metric("best", dsl.A("top_hits", size=3, sort=[{"rating": "desc"}]))
    return report


def brands_ever() -> dsl.AsyncSearch[Any]:
    """How many products each brand has or had, the archive included."""
    everything = dsl.AsyncSearch(index=[PRODUCTS_INDEX, ARCHIVE_INDEX]).params(ignore_unavailable=True).extra(size=0)
    everything.aggs.bucket("brand", dsl.A("terms", field="brand", size=100))
    return everything


def facets(response: Any) -> dict[str, list[tuple[str, int]]]:
    """The facets of a search's response: name to values with their counts."""
    return {
        name: [(str(bucket.key), bucket.doc_count) for bucket in response.aggregations[name].buckets]
        for name in ("category", "brand", "price")
    }
