"""What is hidden in texts and query strings, and what stays as it was."""

from __future__ import annotations

import re

import pytest

from otel_search.redaction import Redactor, marker
from otel_search.redaction.table import KEYS

SECRET = "M4rk3r-s3cr3t"
redactor = Redactor(["Customer-PIN"])

NAMES = [(name, row.kind) for row in KEYS if not row.personal for name in row.names]
IN_URLS = [(name, row.kind) for row in KEYS if not row.personal for name in row.in_urls]


@pytest.mark.parametrize(("name", "kind"), NAMES + IN_URLS)
def test_every_name_is_a_secrets_in_a_url_however_it_is_written(name: str, kind: str) -> None:
    encoded = "".join(f"%{ord(char):02x}" for char in name)
    for written in (name, name.upper(), name.title(), name.replace("_", "-"), encoded, encoded.replace("%", "%25")):
        assert redactor.query_string(f"page=2&{written}={SECRET}&q=shoes") == f"page=2&{written}={marker(kind)}&q=shoes"


@pytest.mark.parametrize(("name", "kind"), NAMES)
def test_every_unambiguous_name_is_a_secrets_in_a_field_and_in_a_text(name: str, kind: str) -> None:
    assert redactor.field(name) == kind
    assert redactor.field(name.upper().replace("_", "-")) == kind
    assert redactor.text(f'{{"{name}": "{SECRET}"}}') == f'{{"{name}": "{marker(kind)}"}}'
    assert redactor.text(f"serve --{name} {SECRET} --fast") == f"serve --{name} {marker(kind)} --fast"


@pytest.mark.parametrize(("name", "kind"), IN_URLS)
def test_names_with_another_meaning_are_secrets_in_urls_only(name: str, kind: str) -> None:
    assert redactor.field(name) is None
    assert redactor.text(f"{name}=5, see http://shop.example/?{name}=5") == (
        f"{name}=5, see http://shop.example/?{name}={marker(kind)}"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("stripe_api_key", "api key"),
        ("csrfToken", "token"),
        ("user[password]", "password"),
        ("form[pwd]", "password"),
        ("db.password", "password"),
        ("http.request.header.cookie", "cookie"),
        ("http.request.header.x_api_key", "api key"),
        ("AWS_SECRET_ACCESS_KEY", "access key"),
        ("SecretAccessKey", "access key"),
        ("Ocp-Apim-Subscription-Key", "api key"),
    ],
)
def test_a_name_that_ends_like_a_secrets_is_one(name: str, kind: str) -> None:
    assert redactor.field(name) == kind
    assert redactor.query_string(f"{name}={SECRET}") == f"{name}={marker(kind)}"


@pytest.mark.parametrize(
    "name",
    ["q", "page", "tokens", "max_tokens", "tokenizer", "author", "codec", "passenger", "country_code", "status",
     "session.id", "cardinality"],
)  # fmt: skip
def test_other_names_are_none(name: str) -> None:
    assert redactor.field(name) is None
    assert redactor.text(f'{{"{name}": "x"}}') == f'{{"{name}": "x"}}'


@pytest.mark.parametrize("name", ["customer-pin", "customer_pin", "customerPin", "CUSTOMER_PIN"])
def test_the_users_own_names_count_everywhere(name: str) -> None:
    assert redactor.query_string(f"{name}={SECRET}") == f"{name}={marker('secret')}"
    assert redactor.field(name) == "secret"
    for text in (f"{{'{name}': '{SECRET}'}}", f"it has {name}={SECRET}", f"{name}: {SECRET}"):
        assert redactor.text(text) == text.replace(SECRET, marker("secret"))
        assert Redactor().text(text) == text


def test_a_name_to_keep_is_none_and_its_value_is_still_looked_at() -> None:
    keeping = Redactor(keep=["Csrf-Token", "session_id"])
    assert keeping.field("csrfToken") is keeping.field("SESSION-ID") is None
    assert keeping.text("csrf_token=5 token=5") == f"csrf_token=5 token={marker('token')}"
    assert keeping.query_string("session_id=5&csrf_token=AKIAIOSFODNN7EXAMPLE") == (
        f"session_id=5&csrf_token={marker('access key')}"
    )


def test_the_users_own_patterns() -> None:
    own = Redactor(patterns=[("customer", re.compile(r"KD-\d{4}")), ("everything red", re.compile("red"))])
    assert own.text("KD-1234 likes red lamps") == f"{marker('customer')} likes {marker('everything red')} lamps"
    assert own.text(marker("customer")) == marker("customer")
    assert own.query_string("q=KD-1234&page=2") == f"q={marker('customer')}&page=2"


def test_personal_data_are_hidden_only_if_asked() -> None:
    text = 'jane@example.com, +49 30 901820 {"client.address": "203.0.113.7", "first_name": "Jane"}'
    assert redactor.text(text) == text
    assert Redactor(mode="pii").text(text) == (
        f"{marker('email address')}, {marker('phone number')} "
        f'{{"client.address": "{marker("ip address")}", "first_name": "{marker("name")}"}}'
    )


def test_nothing_is_hidden_if_asked() -> None:
    off = Redactor(["pin"], mode="off")
    text = f"password={SECRET} Bearer {SECRET}"
    assert off.text(text) == text
    assert off.query_string(f"token={SECRET}") == f"token={SECRET}"
    assert off.field("password") is None


@pytest.mark.parametrize(
    ("query", "redacted"),
    [
        (f"token={SECRET}&token={SECRET}", "token=[redacted: token]&token=[redacted: token]"),
        (f"q=a;token={SECRET}", "q=a;token=[redacted: token]"),
        (f"q=a#access_token={SECRET}&state=1", "q=a#access_token=[redacted: token]&state=1"),
        (f"q=1%23access_token%3D{SECRET}", "q=[redacted: token]"),
        (f"next=https%3A%2F%2Fshop.example%2F%3Fcode%3D{SECRET}", "next=[redacted: authorization code]"),
        (f"next=https%253A%252F%252Fshop.example%252F%253Ftoken%253D{SECRET}", "next=[redacted: token]"),
        (f"next=https://shop.example/?token={SECRET}", "next=[redacted: token]"),
        (f"url=https://user:{SECRET}@shop.example/", "url=[redacted: user info]"),
        (f"filter=%7B%22password%22%3A%22{SECRET}%22%7D", "filter=[redacted: password]"),
        (f"header=Bearer+{SECRET}", "header=[redacted: token]"),
        (f"header=Bearer%20{SECRET}", "header=[redacted: token]"),
        (f"token%3D{SECRET}", "[redacted: token]"),
        (f"jwt={SECRET}&empty=&flag", "jwt=[redacted: token]&empty=&flag"),
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
            f"GET http://shop.example/?q=1&token={SECRET} failed",
            "GET http://shop.example/?q=1&token=[redacted: token] failed",
        ),
        (
            f"GET /?next=https://a/?token={SECRET}&b=1 failed",
            "GET /?next=https://a/?token=[redacted: token]&b=1 failed",
        ),
        (f"GET /?next=%2Fa%3Ftoken%3D{SECRET}&b=1 failed", "GET /?next=[redacted: token]&b=1 failed"),
        (f"GET /?h=Bearer%20{SECRET} failed", "GET /?h=[redacted: token] failed"),
        (f"GET /?%2574oken={SECRET} failed", "GET /?%2574oken=[redacted: token] failed"),
        (f"Login(user='bob', password='{SECRET} x')", "Login(user='bob', password='[redacted: password]')"),
        (f'password="{SECRET}"', 'password="[redacted: password]"'),
        (f'{{"user": "bob", "password": "{SECRET}"}}', '{"user": "bob", "password": "[redacted: password]"}'),
        (f'"{{\\"token\\": \\"{SECRET}\\"}}"', '"{\\"token\\": \\"[redacted: token]\\"}"'),
        (f"{{'x-api-key': '{SECRET}'}}", "{'x-api-key': '[redacted: api key]'}"),
        (f"[(b'cookie', b'{SECRET}'), (b'host', b'h')]", "[(b'cookie', b'[redacted: cookie]'), (b'host', b'h')]"),
        (f"Authorization: Token {SECRET}\nHost: h", "Authorization: [redacted: authorization]\nHost: h"),
        (f"Cookie: sid={SECRET}; b={SECRET}\nHost: h", "Cookie: [redacted: cookie]\nHost: h"),
        (f"wrong password: {SECRET}", "wrong password: [redacted: password]"),
        (f"sent Bearer {SECRET}", "sent Bearer [redacted: token]"),
        (f"sent ApiKey {SECRET}==", "sent ApiKey [redacted: api key]"),
        ("sent Basic dXNlcjpwYXNz", "sent Basic [redacted: password]"),
        (f"postgres://user:{SECRET}@db/shop", "postgres://[redacted: user info]@db/shop"),
        (f"postgres://user:a@{SECRET}@db/shop", "postgres://[redacted: user info]@db/shop"),
        # What the first version of this test did not have: escapes, missing ends, bare and listed values.
        (rf'{{"password": "a\"{SECRET}", "q": 1}}', '{"password": "[redacted: password]", "q": 1}'),
        (rf'"{{\"password\": \"a\\\"{SECRET}\", \"q\": 1}}"', r'"{\"password\": \"[redacted: password]\", \"q\": 1}"'),
        (f'{{"user": "bob", "password": "{SECRET}', '{"user": "bob", "password": "[redacted: password]'),
        (f"password='{SECRET}", "password='[redacted: password]"),
        (f"password: '{SECRET} x', user: bob", "password: '[redacted: password]', user: bob"),
        ('{"pwd": 12345, "password": null}', '{"pwd": [redacted: password], "password": null}'),
        (f'{{"cookie": ["{SECRET}", "b"], "q": 1}}', '{"cookie": [redacted: cookie], "q": 1}'),
        (f"WHERE password = '{SECRET}'", "WHERE password = '[redacted: password]'"),
        (f"psql --password {SECRET} --host db", "psql --password [redacted: password] --host db"),
        (f"X-Shop-Token: {SECRET}", "X-Shop-Token: [redacted: token]"),
        (f"AccountName=shop;AccountKey={SECRET}==;Q=1", "AccountName=shop;AccountKey=[redacted: access key];Q=1"),
        # How Elasticsearch clients take them: in pairs.
        (f"Client(basic_auth=('elastic', '{SECRET}'), q=1)", "Client(basic_auth=[redacted: credential], q=1)"),
        (f"api_key = (\n  'id',\n  '{SECRET}',\n)\nq", "api_key = [redacted: api key]\nq"),
        (f'{{"api_key": ["id", "{SECRET})]"], "q": 1}}', '{"api_key": [redacted: api key], "q": 1}'),
        (f"{{'basic_auth': ('elastic', '{SECRET}'), 'q': 1}}", "{'basic_auth': [redacted: credential], 'q': 1}"),
        (f'{{"password": {{"old": ["{SECRET}"], "n": 1}}, "q": 1}}', '{"password": [redacted: password], "q": 1}'),
        (f"password=(('{SECRET}", "password=[redacted: password]"),
        (f"Session(cookies={{'sid': '{SECRET}'}}, q=1)", "Session(cookies=[redacted: cookie], q=1)"),
        (
            f'{{"shop.credentials": {{"user": "bob", "key": "{SECRET}"}}}}',
            '{"shop.credentials": [redacted: credential]}',
        ),
        (f"run(token=({SECRET}), q=1)", "run(token=[redacted: token], q=1)"),
        (
            f"MYSQL_PWD={SECRET} PGPASSWORD={SECRET} DB_PASS={SECRET}",
            "MYSQL_PWD=[redacted: password] PGPASSWORD=[redacted: password] DB_PASS=[redacted: password]",
        ),
        ("paid with 4111-1111-1111-1111.", "paid with [redacted: card number]."),
        ("on 2026-11-25 378282246310005 was used", "on 2026-11-25 [redacted: card number] was used"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[redacted: token]"),
    ],
)
def test_texts(text: str, redacted: str) -> None:
    assert redactor.text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unexpected token: ';'",
        "token = read_token(path); if token == expected:",
        "basic authentication failed, code=403",
        '"type": "password", "id": 5',
        "mail to shop@example.com, see http://shop.example/about",
        "status: 5 = 2 + 3",
        '{"query":{"match":{"password":"?"}}}',
        '{"query":{"bool":{"filter":[{"terms":{"token":["?"]}},{"match":{"token":{"query":"?","operator":"?"}}}]}}}',
        "password=[], token={}, token = (1, 2)",
        'cookies=3, secrets: 4, "credentials": null, "tokens": ["red", "lamp"], cookies={}',
        "trace 41111111111111111111111111111111, span 4111111111111111a, 0.4111111111111111 s, v4111111111111111",
        "at 1764099200000 ms, 1764099200000000000 ns",
        "a hash: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "550e8400-e29b-41d4-a716-446655440000",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO==",
        'File "/srv/tokens/passwords.py", line 3, in reset_password',
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redactor.text(text) == text
