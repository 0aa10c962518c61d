"""One rule, two readers: what is rendered is right, is what lies in the checkout, and fires as the process does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_search import semconv
from otel_search.alerts import examples
from otel_search.alerts.alertmanager import Mail, alertmanager
from otel_search.alerts.catalogue import catalogue
from otel_search.alerts.conditions import parse
from otel_search.alerts.expression import leaves
from otel_search.alerts.measures import name_of
from otel_search.alerts.render import ALERTS, RECORDINGS, prometheus
from otel_search.alerts.rules import Rule
from otel_search.alerts.template import filled, for_prometheus
from otel_search.cli import main
from tests.backends.components import find
from tests.backends.fixtures import require

ROOT = Path(__file__).parents[2]
COLLECTOR = ROOT / "collector"
RULES = COLLECTOR / "prometheus" / "rules"
DOCUMENT = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")

OPTIONS = ["--smtp-host", "mailpit", "--smtp-port", "1025", "--smtp-security", "plain"]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    require(program)
    return subprocess.run([str(find(program)), *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_what_lies_in_the_checkout_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["alerts", "render", "--out", "collector", *OPTIONS]) == 0
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.yaml")}
    assert len(written) == 6
    for path in written:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path}: `make alerts` writes it anew"
    lying = {
        path.relative_to(ROOT)
        for folder in ("prometheus/rules", "alertmanager")
        for path in (COLLECTOR / folder).rglob("*.yaml")
    }
    assert lying == written


def test_every_rule_has_a_section_that_says_what_to_do() -> None:
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", DOCUMENT, re.DOTALL | re.MULTILINE))
    for rule in catalogue():
        assert rule.runbook_url("docs/alerts.md") == f"docs/alerts.md#{rule.name.lower()}"
        assert len(sections[rule.name].split()) > 15, rule.name


def test_the_table_of_rules_in_the_documentation_is_generated() -> None:
    from tests.alerts import document

    assert document.table() in DOCUMENT, "python -m tests.alerts.document writes it anew"


def test_every_rule_has_an_example_at_which_it_fires_and_one_at_which_it_does_not() -> None:
    fires = {example.rule for example in examples.EXAMPLES if example.labels is not None}
    rests = {example.rule for example in examples.EXAMPLES if example.labels is None}
    assert fires == rests == {rule.name for rule in catalogue()}


@pytest.mark.parametrize(
    ("example", "rule"),
    [pytest.param(*each, id=f"{each[0].rule}-{index}") for index, each in enumerate(examples.of(catalogue()))],
)
def test_the_process_fires_as_the_example_says(example: examples.Example, rule: Rule) -> None:
    found = [alert.labels for alert in examples.evaluated(example, rule)]
    assert found == ([] if example.labels is None else [dict(example.labels)])


def test_rules_read_metrics_of_the_schema_under_their_names_at_metrics() -> None:
    suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",), "up_down_counter": ("",)}
    known = {name_of(metric) + suffix for metric in semconv.METRICS for suffix in suffixes[metric.instrument]}
    labels = {re.sub(r"\W", "_", key) for metric in semconv.METRICS for key in metric.attributes}
    for rule in catalogue():
        if "process" not in rule.readers or rule.expression is None:
            continue
        for leaf in leaves(rule.expression):
            assert leaf.series.name in known | {""}, rule.name
            used = {matcher.label for where in leaf.series.any_of for matcher in where}
            assert used <= labels | {"otel_metric_overflow"}, rule.name


@pytest.mark.backends
def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    checked = run(
        "promtool", "check", "rules", "--lint=all", "--lint-fatal", str(RULES / RECORDINGS), str(RULES / ALERTS)
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.backends
def test_the_documented_commands_accept_what_is_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules.yaml").write_text("change: {SlowRequests: {threshold: 0.5}}\n")
    block = next(block for block in DOCUMENT.split("```sh\n") if block.startswith("otel-search alerts render"))
    rendering, *checks = (line.split() for line in block.partition("```")[0].splitlines())
    monkeypatch.chdir(tmp_path)
    assert main(rendering[1:]) == 0
    assert [program for program, *_ in checks] == ["promtool", "promtool", "amtool"]
    for program, *words in checks:
        paths = [str(path) for word in words if "/" in word for path in sorted(Path().glob(word))]
        assert paths, f"{' '.join(words)} names nothing"
        checked = run(program, *(word for word in words if "/" not in word), *paths)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.backends
def test_prometheus_fires_at_the_same_samples_with_the_same_words() -> None:
    """The tests that are rendered expect what the evaluator in the process has found, to the letter."""
    paths = sorted((RULES / "tests").glob("*.yaml"))
    tested = run("promtool", "test", "rules", *map(str, paths))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    texts = "".join(path.read_text() for path in paths)
    assert texts.count("series: target_info{") == len(examples.EXAMPLES)


@pytest.mark.backends
def test_a_test_that_expects_something_else_fails(tmp_path: Path) -> None:
    content = yaml.safe_load((RULES / "tests" / "every-5m.yaml").read_text())
    content["rule_files"] = [str(RULES / name) for name in (RECORDINGS, ALERTS)]
    content["tests"][0]["alert_rule_test"][0]["exp_alerts"][0]["exp_annotations"]["summary"] += " "
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(content))
    assert run("promtool", "test", "rules", str(tmp_path / "tests.yaml")).returncode != 0


@pytest.mark.backends
@pytest.mark.parametrize(
    "mail",
    [
        Mail("mail.example.org"),
        Mail("mail.example.org", security="tls", username="shop", password_file="/run/secrets/smtp"),
        Mail("127.0.0.1", 1025, "plain", to=("a@example.org", "b@example.org")),
    ],
    ids=["starttls", "tls", "plain"],
)
def test_amtool_accepts_the_configuration(mail: Mail, tmp_path: Path) -> None:
    rules = [
        *catalogue(),
        Rule(name="Own", condition=parse("max(a) > 1"), summary="x", recipients=("own@example.org",)),
    ]
    path = tmp_path / "alertmanager.yaml"
    path.write_text(alertmanager(rules, mail, "x", webhook="http://127.0.0.1:1/"))
    checked = run("amtool", "check-config", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr

    def receivers(*labels: str) -> str:
        return run("amtool", "config", "routes", "test", f"--config.file={path}", *labels).stdout.strip()

    assert receivers("alertname=Own", "severity=warning") == "webhook,mail-1"
    assert receivers("alertname=HighErrorRate", "severity=critical") == "webhook,mail"


def test_who_is_told_and_when_again() -> None:
    content: dict[str, Any] = yaml.safe_load((COLLECTOR / "alertmanager" / "alertmanager.yaml").read_text())
    assert content["route"]["repeat_interval"] == "5m"
    assert content["route"]["group_by"] == ["job", "deployment_environment_name", "alertname"]
    assert "smtp_auth_password" not in content["global"]
    (red,) = [
        each
        for each in content["inhibit_rules"]
        if each["source_matchers"] == ['alertname="ElasticsearchRed"'] and "Yellow" in each["target_matchers"][0]
    ]
    assert red["equal"] == ["job", "deployment_environment_name", "search_health_component"]


def test_a_summary_is_the_same_text_for_both_readers() -> None:
    template = (
        "{service}: {value:percent}, {value:seconds}, {value:count}, {value} of {{{queue}}} above {threshold:percent}"
    )
    words = filled(template, value=0.25, threshold=0.1, service="shop", labels={"queue": "a"})
    assert words == "shop: 25%, 0.25 s, 0, 0.25 of {a} above 10%"
    assert for_prometheus(template, threshold=0.1) == (
        "{{ $labels.job }}: {{ $value | humanizePercentage }}, "
        '{{ printf "%.3g" $value }} s, {{ printf "%.0f" $value }}, {{ printf "%.4g" $value }} '
        "of {{{ $labels.queue }}} above 10%"
    )


def test_a_condition_that_is_a_function_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.py"
    own.write_text("from otel_search import AlertRule\nrule = AlertRule('Own', lambda snapshot: True, 'x')\n")
    try:
        assert main(["alerts", "render", "--out", str(tmp_path / "out"), "--rules", str(own)]) == 0
    finally:
        from otel_search import AlertRule

        for each in list(AlertRule._declared.values()):
            each.remove()
    assert capsys.readouterr().err == "Own is left out: only the service itself can evaluate it\n"
    assert "alert: Own" not in (tmp_path / "out" / "prometheus" / "rules" / ALERTS).read_text()


def test_a_drill_is_an_option_and_no_edit() -> None:
    files = prometheus([rule.scaled(0.02) for rule in catalogue()], "docs/alerts.md", "x")
    (rule,) = [
        each
        for group in yaml.safe_load(files[ALERTS])["groups"]
        for each in group["rules"]
        if each["alert"] == "HighErrorRate"
    ]
    assert (rule["for"], rule["keep_firing_for"]) == ("1s200ms", "2s400ms")
    assert (
        "job:http_server_requests_failed:increase6s / job:http_server_requests_served:increase6s > 0.05" in rule["expr"]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["render", "--to", "x"], "--to='x' is not accepted; accepted: addresses of mail, separated by commas"),
        (
            ["render", "--smtp-security", "none"],
            "--smtp-security='none' is not accepted; accepted: starttls | tls | plain",
        ),
        (["render", "--time-scale", "2"], "--time-scale='2' is not accepted; accepted: a factor, 0.001 to 1"),
        (["render", "--objective", "100"], "--objective='100' is not accepted; accepted: a percentage, 50 to 99.999"),
        (["check", "/nowhere.yaml"], "/nowhere.yaml cannot be read: No such file or directory"),
        (["test-mail"], "OTEL_SEARCH_ALERTS_SMTP_HOST is not set: there is nobody to send a mail to"),
        (
            ["test-mail", "--smtp-host", "127.0.0.1"],
            "OTEL_SEARCH_ALERTS_TO is not set: there is nobody to send a mail to",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["alerts", *arguments]) == 1
    assert capsys.readouterr().err == f"{said}\n"


def test_a_file_of_rules_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "without: [NoTraffic]\nchange: {HighMemory: {threshold: 0.8}}\nrules: [{name: A, condition: max(a) > 1, message_template: x}]\n"
    )
    assert main(["alerts", "check", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["HighMemory: changed, warning", "A: added, warning", "NoTraffic: left out"]
    assert said[3].startswith(f"{path} can be used: ")


def test_all_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [rule.name for rule in catalogue()]
