"""Collection families: few names for many indices."""

from __future__ import annotations

import pytest

from otel_search.elasticsearch.families import MAX_FAMILIES, Families, family_of


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("products", "products"),
        ("products_v2", "products_v2"),
        ("products-v12", "products-v12"),
        ("logs-2026.11.25", "logs-*"),
        ("logs-2026-11-25", "logs-*"),
        ("logs-20261125", "logs-*"),
        ("logs-2026.11", "logs-*"),
        ("logs-2026", "logs-*"),
        ("metrics-2026.w12", "metrics-*"),
        ("sales-2026q4", "sales-*"),
        ("logs-25.11.2026", "logs-*"),
        ("logs-2026.11.25-14", "logs-*"),
        ("logs-2026-11-25T14:30", "logs-*"),
        ("logs-20261125T143059-web", "logs-*-web"),
        ("products-20261125143059", "products-*"),
        ("products-2026.11.25-v2", "products-*-v2"),
        ("restored-.ds-logs-nginx-default-2026.11.25-000001", "logs-nginx-default"),
        ("2026.11.25-logs", "*-logs"),
        ("logs-000001", "logs-*"),
        ("logs-2026.11.25-000042", "logs-*"),
        (".ds-logs-nginx-default-2026.11.25-000001", "logs-nginx-default"),
        (".fs-logs-nginx-default-2026.11.25-000001", "logs-nginx-default"),
        ("logs-*", "logs-*"),
        ("logs-2026.*", "logs-*"),
        ("*", "_all"),
        ("_all", "_all"),
        ("<logstash-{now/d}>", "logstash-*"),
        ("%3Clogstash-%7Bnow%2Fd%7D%3E", "logstash-*"),
        ("<logs-{now/d{yyyy.MM.dd|+12:00}}>", "logs-*"),
        ("tenant-550e8400-e29b-41d4-a716-446655440000", "tenant-*"),
        ("tenant-550E8400-E29B-41D4-A716-446655440000-products", "tenant-*-products"),
        ("user_64f1c0ffee12ab", "user_*"),
        ("tenant-1234", "tenant-*"),
        ("restored-01HV3K5Y2QZJ8X9M4N7P6R5T3W", "restored-*"),
        ("cluster_one:logs-2026.11.25", "cluster_one:logs-*"),
        (".kibana_8.13.2_001", ".kibana_8.13.2_*"),
        ("facade-feed-decade", "facade-feed-decade"),
        ("logs-2026.11.25,logs-2026.11.24", "logs-*"),
        ("products,brands", "brands,products"),
        ("brands,products", "brands,products"),
        ("a,b,c,d", "_other"),
        ("x" * 300, "_other"),
        ("a," * 5000, "_other"),
    ],
)
def test_a_name_loses_what_makes_it_one_of_many(name: str, family: str) -> None:
    assert family_of(name) == family


def test_the_number_of_families_is_bounded() -> None:
    families = Families()
    names = ["".join(chr(97 + int(digit)) for digit in str(number)) for number in range(3 * MAX_FAMILIES)]
    seen = {families.of(name) for name in names}
    assert len(seen) == MAX_FAMILIES + 1
    assert "_other" in seen
    # What was there first keeps its name.
    assert families.of(names[0]) == names[0]


def test_no_target_is_no_family() -> None:
    assert Families().of(None) is None
    assert Families().of("") is None
