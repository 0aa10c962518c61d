from __future__ import annotations

import re

import pytest

from otel_search.context import accept_request_id, new_request_id


@pytest.mark.parametrize(
    "value",
    [
        b"0f8fad5b-d9cb-469f-a165-70867728950e",
        b"01ARZ3NDEKTSV4RRFFQ69G5FAV",
        b"4bf92f3577b34da6a3ce929d0e0e4736",
        b"Root=1-67891233-abcdef012345678912345678"[5:],
        b"a",
        b"0",
        b"client:42@eu-west_1=x.y",
        b"a" * 128,
    ],
)
def test_an_id_is_kept(value: bytes) -> None:
    assert accept_request_id([value]) == value.decode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a" * 129,
        b"a" * 60_000,
        b"-a",
        b".a",
        b"a b",
        b" a",
        b"a\n",
        b"a\nb",
        b"a\r\nSet-Cookie: x=1",
        b"a\x00b",
        b"a%0Ab",
        b"\x1b[31mred",
        b'{"level":"error"}',
        b'","level":"error',
        b"<script>alert(1)</script>",
        b"caf\xe9",
        "é".encode(),
        "١٢٣".encode(),
        b"a;b",
        b"a,b",
        b"a'b",
        b'a"b',
        b"a\\b",
        b"../../etc/passwd",
        b"${jndi:ldap://x}",
    ],
)
def test_anything_else_is_not_an_id(value: bytes) -> None:
    assert accept_request_id([value]) is None


def test_no_header_and_two_headers_are_no_id() -> None:
    assert accept_request_id([]) is None
    assert accept_request_id([b"a", b"a"]) is None


def test_new_ids_are_32_hexadecimal_digits_and_differ() -> None:
    ids = {new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert all(accept_request_id([one.encode()]) == one for one in ids)
