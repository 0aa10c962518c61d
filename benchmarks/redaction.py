"""What it costs to look for secrets in texts that have none, and in one that has: best of several runs.

python benchmarks/redaction.py [--number 2000]
"""

from __future__ import annotations

import argparse
import timeit

from otel_search.redaction import Redactor

QUERY = (
    '{"query":{"bool":{"must":[{"match":{"name":{"query":"red running shoes","operator":"and"}}}],'
    '"filter":[{"term":{"brand":"acme"}},{"range":{"price":{"gte":10,"lte":200}}}]}},'
    '"aggs":{"brands":{"terms":{"field":"brand.keyword","size":10}}},'
    '"sort":[{"_score":"desc"},{"created_at":"asc"}],"from":20,"size":10}'
)
FRAME = (
    '  File "/srv/shop/app/module_{0}.py", line {0}7, in handle\n'
    '    result = await client.search(index="products", query=build(query, size={0}))\n'
)
TEXTS = {
    "query text, JSON": QUERY,
    "log line": "products searched in 12 ms for customer 4711: 37 hits, page 2 of 4, sorted by price, from the cache: no",
    "URL": "https://shop.example/products/search?q=red+shoes&page=2&sort=price&brand=acme&color=red&size=42&in_stock=1",
    "traceback": "Traceback (most recent call last):\n"
    + "".join(FRAME.format(number) for number in range(20))
    + "ValueError: no such index [products]\n",
    "with two secrets": 'POST /login failed: {"user": "bob", "password": "hunter2"}, Authorization: Bearer abcdefgh12345678',
}
QUERIES = {"query string": "q=red+shoes&page=2&sort=price", "encoded query string": "q=caf%C3%A9+noir&page=2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2000, help="times of each run")
    number = parser.parse_args().number
    redactor = Redactor()
    print(f"{'text':24}{'characters':>12}{'microseconds':>14}")
    for name, text in TEXTS.items():
        report(name, text, number, lambda text=text: redactor.text(text))
    for name, text in QUERIES.items():
        report(name, text, number, lambda text=text: redactor.query_string(text))
    short = "GET /products/search"
    report("short, seen before", short, number, lambda: redactor.text(short))


def report(name: str, text: str, number: int, hide: object) -> None:
    best = min(timeit.repeat(hide, number=number, repeat=9)) / number
    print(f"{name:24}{len(text):12}{best * 1e6:14.2f}")


if __name__ == "__main__":
    main()
