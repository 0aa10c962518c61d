"""What the service takes and gives over HTTP."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Sort(StrEnum):
    """The orders in which found products can be had."""

    RELEVANCE = "relevance"
    CHEAPEST = "cheapest"
    DEAREST = "dearest"
    BEST_RATED = "best_rated"
    NEWEST = "newest"


class ProductFields(BaseModel):
    """A product without its id."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    category: str
    brand: str
    price: Annotated[float, Field(ge=0)]
    rating: Annotated[float, Field(ge=0, le=5)] = 0
    stock: Annotated[int, Field(ge=0)] = 0
    added: dt.date = Field(default_factory=lambda: dt.datetime.now(dt.UTC).date())


class StoredProduct(BaseModel):
    """A product as it is found; an imported one may lack what its import did not have."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str | None = None
    description: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    rating: float | None = None
    stock: int | None = None
    in_stock: bool | None = None
    added: dt.date | None = None


class SearchFilters(BaseModel):
    """The query parameters of a search."""

    model_config = ConfigDict(extra="forbid")

    q: Annotated[str, Field(max_length=200)] = ""
    category: list[str] = []
    brand: list[str] = []
    min_price: Annotated[float, Field(ge=0)] | None = None
    max_price: Annotated[float, Field(ge=0)] | None = None
    in_stock: bool | None = None
    sort: Sort = Sort.RELEVANCE
    page: Annotated[int, Field(ge=1)] = 1
    size: Annotated[int, Field(ge=1, le=100)] = 10


class Facet(BaseModel):
    """How many of the found products have this value."""

    value: str
    count: int


class SearchResult(BaseModel):
    """One page of found products."""

    total: int
    page: int
    products: list[StoredProduct]
    facets: dict[str, list[Facet]]
    did_you_mean: list[str] = []


class BulkItem(BaseModel):
    """One product of an import.

    Its fields are checked by the index's mapping and not here, so that one bad product does not
    refuse the others.
    """

    id: str | None = None
    overwrite: bool = True
    product: dict[str, object]


class BulkItemResult(BaseModel):
    """What became of one product of an import."""

    id: str | None
    status: int
    error: str | None = None


class BulkResult(BaseModel):
    """What became of an import."""

    imported: int
    failed: int
    items: list[BulkItemResult]


class BrandReport(BaseModel):
    """One brand's months."""

    brand: str
    products: int
    months: int
    median_price: float | None
