"""The routes of the product search service."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import structlog
from elasticsearch import NotFoundError, helpers
from elasticsearch.dsl import async_connections
from fastapi import APIRouter, Body, HTTPException, Query

from otel_search.demo.service import products
from otel_search.demo.service.config import PRODUCTS_INDEX
from otel_search.demo.service.models import (
    BrandReport,
    BulkItem,
    BulkItemResult,
    BulkResult,
    Facet,
    ProductFields,
    SearchFilters,
    SearchResult,
    StoredProduct,
)
from otel_search.demo.service.products import Product

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/products", tags=["products"])


@router.get("/search")
async def search(filters: Annotated[SearchFilters, Query()]) -> SearchResult:
    """Search products by text, category, brand, price and stock."""
    response = await products.search(filters).execute()
    total = response.hits.total.value  # type: ignore[attr-defined]
    result = SearchResult(
        total=total,
        page=filters.page,
        products=[StoredProduct.model_validate(hit) for hit in response],
        facets={
            name: [Facet(value=value, count=count) for value, count in values]
            for name, values in products.facets(response).items()
        },
    )
    if total == 0 and filters.q:
        suggestions = await products.spelling(filters.q).execute()
        result.did_you_mean = [option.text for word in suggestions.suggest["spelling"] for option in word.options[:1]]
        log.warning("search found nothing", did_you_mean=result.did_you_mean)
    else:
        log.info("products found", total=total, returned=len(result.products))
    return result


@router.get("/suggest")
async def suggest(
    q: Annotated[str, Query(min_length=2, max_length=100)], limit: Annotated[int, Query(ge=1, le=20)] = 5
) -> list[str]:
    """Names of products for what has been typed so far."""
    response = await products.names_starting_with(q, limit).execute()
    return [hit.name for hit in response]


@router.get("/brands")
async def brands() -> list[Facet]:
    """Every brand with the number of its products, those of the archive included."""
    response = await products.brands_ever().execute()
    return [Facet(value=bucket.key, count=bucket.doc_count) for bucket in response.aggregations.brand.buckets]


@router.get("/report")
async def report(since: dt.date = dt.date(2024, 1, 1)) -> list[BrandReport]:
    """What each brand offers, month by month: slow, because it looks at everything."""
    response = await products.brands_by_month(since).execute()
    return [
        BrandReport(
            brand=brand.key,
            products=brand.doc_count,
            months=sum(len(category.months.buckets) for category in brand.categories.buckets),
            median_price=brand.price["values"]["50.0"],
        )
        for brand in response.aggregations.brands.buckets
    ]


@router.post("/bulk")
async def bulk(items: Annotated[list[BulkItem], Body(min_length=1, max_length=1000)]) -> BulkResult:
    """Import products; each has a result of its own, and one that fails does not stop the others."""
    actions = [
        {
            "_op_type": "index" if item.overwrite else "create",
            "_index": PRODUCTS_INDEX,
            **({"_id": item.id} if item.id else {}),
            "_source": {**item.product, "in_stock": bool(item.product.get("stock"))},
        }
        for item in items
    ]
    results = [
        BulkItemResult(id=done.get("_id"), status=done["status"], error=done.get("error", {}).get("reason"))
        async for _, action in helpers.async_streaming_bulk(
            async_connections.get_connection(), actions, raise_on_error=False, refresh="wait_for"
        )
        for done in action.values()
    ]
    failures = [result for result in results if result.error]
    if failures:
        log.warning("products not imported", failed=len(failures), first_error=failures[0].error)
    log.info("products imported", imported=len(results) - len(failures))
    return BulkResult(imported=len(results) - len(failures), failed=len(failures), items=results)


@router.get("/{product_id}")
async def get(product_id: str) -> StoredProduct:
    """One product."""
    try:
        return StoredProduct.model_validate(await Product.get(product_id))
    except NotFoundError:
        raise HTTPException(404, f"no product {product_id}") from None


@router.post("", status_code=201)
async def add(fields: ProductFields) -> StoredProduct:
    """Add a product to the catalogue."""
    product = Product(**fields.model_dump(), in_stock=fields.stock > 0)
    await product.save(refresh="wait_for")
    log.info("product added", product_id=product.id)
    return StoredProduct.model_validate(product)


@router.delete("/{product_id}", status_code=204)
async def delete(product_id: str) -> None:
    """Take a product out of the catalogue."""
    try:
        await Product(meta={"id": product_id}).delete(  # type: ignore[call-arg]
            refresh="wait_for"
        )
    except NotFoundError:
        raise HTTPException(404, f"no product {product_id}") from None
    log.info("product deleted", product_id=product_id)
