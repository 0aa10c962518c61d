"""The short way through the SDK's attribute containers comes to what upstream's way comes to."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.metrics._internal import _view_instrument_match, measurement

from otel_search.lean import attributes as lean

pytestmark = pytest.mark.skipif(not lean._upstream, reason="this SDK is built otherwise")

keys = st.text(max_size=3) | st.integers(0, 3) | st.none()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
updates = st.lists(st.dictionaries(keys, values, max_size=5), max_size=4)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    lean.uninstall()


def outcome(limits: dict[str, Any], dicts: list[dict[Any, Any]]) -> tuple[Any, int]:
    container = BoundedAttributes(attributes=None, immutable=False, **limits)
    for number, items in enumerate(dicts):
        container._set_items(MappingProxyType(items) if number % 2 else items)
    return dict(container), container.dropped


@given(updates, st.none() | st.integers(0, 6), st.none() | st.integers(0, 4))
def test_any_attributes_end_up_as_upstream_leaves_them(dicts: Any, maxlen: int | None, longest: int | None) -> None:
    limits = {"maxlen": maxlen, "max_value_len": longest}
    lean.uninstall()
    expected = outcome(limits, dicts)
    lean.install()
    assert outcome(limits, dicts) == expected


@given(st.dictionaries(keys, values, max_size=5), st.none() | st.integers(0, 4))
def test_any_measurement_is_cleaned_and_told_apart_as_upstream_does(items: Any, longest: int | None) -> None:
    lean.install()
    cleaned = lean._upstream["_clean_attribute_value"](items, longest)
    assert measurement._clean_attribute_value(items, longest) == cleaned
    expected = lean._upstream["_hash_attributes"](cleaned)
    assert _view_instrument_match._hash_attributes(cleaned) == expected


def test_an_immutable_container_stays_so() -> None:
    lean.install()
    with pytest.raises(TypeError):
        BoundedAttributes(attributes={"a": 1})._set_items({"b": 2})


def test_what_is_set_is_a_copy() -> None:
    lean.install()
    given = {"a": [1], "b": 2}
    container = BoundedAttributes(attributes=given, immutable=False)
    given["b"] = 3
    given["a"].append(2)  # type: ignore[attr-defined]
    assert dict(container) == {"a": (1,), "b": 2}
