from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_search.redaction import REDACTED, SECRET_KEYS, Redactor

MARKER = "M4rk3r-s3cr3t"
redactor = Redactor(["Customer-PIN"])


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_every_key_is_a_secret_in_a_url_however_it_is_written(key: str) -> None:
    encoded = "".join(f"%{ord(char):02x}" for char in key)
    for name in (key, key.upper(), key.title(), key.replace("_", "-"), encoded, encoded.replace("%", "%25")):
        assert redactor.query_string(f"page=2&{name}={MARKER}&q=shoes") == f"page=2&{name}={REDACTED}&q=shoes"


@pytest.mark.parametrize("key", sorted(set(SECRET_KEYS) - {"auth", "code", "session", "sig"}))
def test_every_unambiguous_key_is_a_secret_in_a_field_and_in_a_text(key: str) -> None:
    assert redactor.secret_field(key)
    assert redactor.secret_field(key.upper().replace("_", "-"))
    assert redactor.text(f'{{"{key}": "{MARKER}"}}') == f'{{"{key}": "{REDACTED}"}}'


@pytest.mark.parametrize("name", ["auth", "code", "session", "sig"])
def test_names_with_another_meaning_are_secrets_in_urls_only(name: str) -> None:
    assert redactor.secret_parameter(name)
    assert not redactor.secret_field(name)
    assert redactor.text(f"{name}=5, see http://shop.example/?{name}=5") == (
        f"{name}=5, see http://shop.example/?{name}={REDACTED}"
    )


@pytest.mark.parametrize(
    "name",
    [
        "stripe_api_key",
        "csrfToken",
        "user[password]",
        "db.password",
        "AWS_SECRET_ACCESS_KEY",
        "Ocp-Apim-Subscription-Key",
    ],
)
def test_a_name_that_ends_like_a_secret_is_one(name: str) -> None:
    assert redactor.secret_field(name)
    assert redactor.secret_parameter(name)


@pytest.mark.parametrize(
    "name", ["q", "page", "tokens", "max_tokens", "tokenizer", "author", "codec", "passenger", "country_code", "status"]
)
def test_other_names_are_none(name: str) -> None:
    assert not redactor.secret_field(name)
    assert not redactor.secret_parameter(name)


@pytest.mark.parametrize("name", ["customer-pin", "customer_pin", "customerPin", "CUSTOMER_PIN"])
def test_the_users_own_names_count_everywhere(name: str) -> None:
    assert redactor.query_string(f"{name}={MARKER}") == f"{name}={REDACTED}"
    assert redactor.secret_field(name)
    assert MARKER not in redactor.text(f"{{'{name}': '{MARKER}'}} {name}={MARKER}")
    assert not Redactor().secret_field(name)


@pytest.mark.parametrize(
    ("query", "redacted"),
    [
        (f"token={MARKER}&token={MARKER}", f"token={REDACTED}&token={REDACTED}"),
        (f"q=a;token={MARKER}", f"q=a;token={REDACTED}"),
        (f"q=a#access_token={MARKER}&state=1", f"q=a#access_token={REDACTED}&state=1"),
        (f"q=1%23access_token%3D{MARKER}", f"q={REDACTED}"),
        (f"next=https%3A%2F%2Fshop.example%2F%3Fcode%3D{MARKER}", f"next={REDACTED}"),
        (f"next=https%253A%252F%252Fshop.example%252F%253Ftoken%253D{MARKER}", f"next={REDACTED}"),
        (f"next=https://shop.example/?token={MARKER}", f"next={REDACTED}"),
        (f"url=https://user:{MARKER}@shop.example/", f"url={REDACTED}"),
        (f"filter=%7B%22password%22%3A%22{MARKER}%22%7D", f"filter={REDACTED}"),
        (f"header=Bearer+{MARKER}", f"header={REDACTED}"),
        (f"header=Bearer%20{MARKER}", f"header={REDACTED}"),
        (f"token%3D{MARKER}", REDACTED),
        (f"jwt={MARKER}&empty=&flag", f"jwt={REDACTED}&empty=&flag"),
    ],
)
def test_query_strings(query: str, redacted: str) -> None:
    assert redactor.query_string(query) == redacted


@pytest.mark.parametrize(
    "query",
    ["", "q=red+shoes&page=2", "q=caf%C3%A9", "q=a:b", "q=a%3Ab%40c", "a=b=c", "flag", "token=", "=", "%", "%ZZ=1"],
)
def test_a_query_string_without_secrets_stays_as_it_is(query: str) -> None:
    assert redactor.query_string(query) == query


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (
            f"GET http://shop.example/?q=1&token={MARKER} failed",
            f"GET http://shop.example/?q=1&token={REDACTED} failed",
        ),
        (f"GET /?next=https://a/?token={MARKER}&b=1 failed", f"GET /?next=https://a/?token={REDACTED}&b=1 failed"),
        (f"GET /?next=%2Fa%3Ftoken%3D{MARKER}&b=1 failed", f"GET /?next={REDACTED}&b=1 failed"),
        (f"GET /?h=Bearer%20{MARKER} failed", f"GET /?h={REDACTED} failed"),
        (f"GET /?%2574oken={MARKER} failed", f"GET /?%2574oken={REDACTED} failed"),
        (f"Login(user='bob', password='{MARKER} x')", f"Login(user='bob', password='{REDACTED}')"),
        (f'password="{MARKER}"', f'password="{REDACTED}"'),
        (f'{{"user": "bob", "password": "{MARKER}"}}', f'{{"user": "bob", "password": "{REDACTED}"}}'),
        (f'"{{\\"token\\": \\"{MARKER}\\"}}"', f'"{{\\"token\\": \\"{REDACTED}\\"}}"'),
        (f"{{'x-api-key': '{MARKER}'}}", f"{{'x-api-key': '{REDACTED}'}}"),
        (f"[(b'cookie', b'{MARKER}'), (b'host', b'h')]", f"[(b'cookie', b'{REDACTED}'), (b'host', b'h')]"),
        (f"Authorization: Token {MARKER}\nHost: h", f"Authorization: {REDACTED}\nHost: h"),
        (f"Cookie: sid={MARKER}; b={MARKER}\nHost: h", f"Cookie: {REDACTED}\nHost: h"),
        (f"wrong password: {MARKER}", f"wrong password: {REDACTED}"),
        (f"sent Bearer {MARKER}", f"sent Bearer {REDACTED}"),
        (f"sent ApiKey {MARKER}==", f"sent ApiKey {REDACTED}"),
        ("sent Basic dXNlcjpwYXNz", f"sent Basic {REDACTED}"),
        (f"postgres://user:{MARKER}@db/shop", f"postgres://{REDACTED}@db/shop"),
        (f"postgres://user:a@{MARKER}@db/shop", f"postgres://{REDACTED}@db/shop"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", REDACTED),
    ],
)
def test_texts(text: str, redacted: str) -> None:
    assert redactor.text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unexpected token: ';'",
        "basic authentication failed, code=403",
        '"type": "password", "id": 5',
        "mail to shop@example.com, see http://shop.example/about",
        "status: 5 = 2 + 3",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redactor.text(text) == text


_PIECES = st.sampled_from(
    ["token", "password", "code", "=", "%2574oken", "%253D", "Bearer%20", "&", "?", "#", ";", ":", " ", "'", '"', "\\", "%3D", "%", "(b'", "@", "x://",
     "Bearer ", "Basic ", "eyJabcdefgh.", "[redacted]", "[", "]", ",", "\n", "M4rk3r", "Cookie: ", "{", "}"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_PIECES, max_size=20).map("".join))
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redactor.text(text)
    assert redactor.text(once) == once
    query = redactor.query_string(text)
    assert redactor.query_string(query) == query


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a=",
        "?x=%25%25",
        "x=?",
        "&a=%3D",
        "%25",
        'token="',
        "'token': '",
        "x://a@",
        "(b'",
        "_-",
        "a.eyJ",
        "?a='%",
        "Bearer ",
    ],
)
def test_the_time_does_not_explode_with_the_length(piece: str) -> None:
    # With one quadratic step each of these would take minutes.
    hostile = piece * (100_000 // len(piece))
    for ending in ("", "=%", "\"'"):
        assert redactor.query_string(hostile + ending) is not None
        assert redactor.text(hostile + ending) is not None


def test_names_that_callers_choose_do_not_fill_the_memory() -> None:
    fresh = Redactor()
    for number in range(50):
        assert fresh.query_string(f"{'n' * 5000}{number}_token={MARKER}").endswith(f"={REDACTED}")
    assert fresh._known.cache_info().currsize == 0
