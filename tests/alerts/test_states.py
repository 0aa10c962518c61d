"""The life of an alert under a test's own clock, and when somebody is told."""

from __future__ import annotations

import orjson
import pytest

from otel_search.alerts.conditions import parse
from otel_search.alerts.evaluator import Value
from otel_search.alerts.rules import Rule, finite
from otel_search.alerts.saved import UnreadableError
from otel_search.alerts.states import FIRING, PENDING, RESOLVED, Alerts, Notification

GROUP = ((),)


def rule(name: str = "Full", **changes: object) -> Rule:
    known = {"condition": parse("max(depth) > 5"), "summary": "{value:count} wait in {service}", **changes}
    return Rule(name=name, **known)  # type: ignore[arg-type]


class Clock:
    """One service's alerts, told at each step which conditions hold."""

    def __init__(self, *rules: Rule, **options: float) -> None:
        self.rules = rules or (rule(),)
        self.alerts = Alerts(service="shop", recipients=("ops@example.org",), **options)
        self.now = 1_000_000.0

    def step(
        self, seconds: float, *holding: str, value: float = 9.0, labels: tuple[tuple[str, str], ...] = ()
    ) -> list[str]:
        return [self.words(each) for each in self.notifications(seconds, *holding, value=value, labels=labels)]

    def notifications(
        self, seconds: float, *holding: str, value: float = 9.0, labels: tuple[tuple[str, str], ...] = ()
    ) -> list[Notification]:
        self.now += seconds
        changed = []
        for each in self.rules:
            values = {labels: Value(value)} if each.name in holding else {}
            changed += self.alerts.update(each, values, self.now)
        return self.alerts.due({each.name: each for each in self.rules}, changed, self.now)

    @staticmethod
    def words(told: Notification) -> str:
        more = f" after {told.suppressed}" if told.suppressed else ""
        return f"{told.rule} {'still ' if told.repeated else ''}{told.status}{more}"

    def state(self, name: str = "Full") -> str:
        return next((each.state for each in self.alerts.known.values() if each.rule == name), "inactive")


def test_an_alert_that_holds_is_told_once_and_so_is_its_end() -> None:
    clock = Clock(repeat=0)
    assert [clock.step(15, "Full") for _ in range(10)] == [["Full firing"], *[[]] * 9]
    assert [clock.step(15) for _ in range(3)] == [["Full resolved"], [], []]


def test_it_fires_when_it_has_held_long_enough() -> None:
    clock = Clock(rule(pending=60))
    seen = []
    for _ in range(6):
        told = clock.step(15, "Full")
        seen.append((clock.state(), told))
    assert seen[3] == (PENDING, [])
    assert seen[4] == (FIRING, ["Full firing"])
    assert seen[5] == (FIRING, [])


def test_one_moment_without_it_begins_the_waiting_anew() -> None:
    clock = Clock(rule(pending=60))
    for _ in range(4):
        clock.step(15, "Full")
    assert clock.step(15) == []
    assert clock.state() == "inactive"
    assert [clock.step(15, "Full") for _ in range(4)] == [[]] * 4
    assert clock.step(15, "Full") == ["Full firing"]


def test_it_goes_on_firing_until_it_has_been_over_long_enough() -> None:
    clock = Clock(rule(keep=60))
    clock.step(15, "Full")
    assert [clock.step(15) for _ in range(3)] == [[]] * 3
    assert clock.step(15, "Full") == []
    assert [clock.step(15) for _ in range(4)] == [[], [], [], ["Full resolved"]]


def test_one_that_goes_on_is_told_again_when_asked_to() -> None:
    clock = Clock(repeat=300, cooldown=300)
    told = [each for _ in range(60) for each in clock.step(15, "Full")]
    assert told == ["Full firing", "Full still firing", "Full still firing"]


def test_flapping_is_two_mails_in_a_cooldown_and_the_next_one_says_how_often_it_was() -> None:
    clock = Clock(repeat=0, cooldown=300)
    told = []
    for second in range(0, 300, 10):
        told += clock.step(5, "Full") + clock.step(5)
        assert len(told) <= 2, second
    assert told == ["Full firing", "Full resolved"]
    assert clock.step(10, "Full") == ["Full firing after 29"]


def test_an_end_is_told_only_if_the_beginning_was() -> None:
    clock = Clock(cooldown=300)
    assert clock.step(15, "Full") + clock.step(15) == ["Full firing", "Full resolved"]
    assert clock.step(15, "Full") + clock.step(15) == []


def test_an_incident_that_outlasts_the_cooldown_is_told_then() -> None:
    clock = Clock(cooldown=300, repeat=0)
    clock.step(15, "Full")
    clock.step(15)
    told = [each for _ in range(25) for each in clock.step(15, "Full")]
    assert told == ["Full firing"]


def test_different_alerts_do_not_hide_one_another() -> None:
    clock = Clock(rule("Full"), rule("Slow"))
    assert clock.step(15, "Full", "Slow") == ["Full firing", "Slow firing"]


def test_each_group_is_an_alert_of_its_own_with_its_own_cooldown() -> None:
    clock = Clock(rule(by=("queue",), summary="{queue} is full"))
    assert clock.notifications(15, "Full", labels=(("queue", "a"),))[0].summary == "a is full"
    (ended, began) = sorted(
        clock.notifications(15, "Full", labels=(("queue", "b"),)), key=lambda each: each.status != "resolved"
    )
    assert (ended.labels, ended.status) == ({"queue": "a"}, "resolved")
    assert (began.labels, began.status) == ({"queue": "b"}, "firing")
    assert ended.fingerprint != began.fingerprint


def test_the_key_of_an_alert_does_not_change_with_its_value_or_the_time() -> None:
    clock = Clock(cooldown=0, repeat=1)
    keys = {told.key for value in (6.0, 7.5, 9.25) for told in clock.notifications(15, "Full", value=value)}
    assert keys == {"Full{}"}


def test_who_has_told_speaks_for_others_and_for_a_while_after() -> None:
    wide = rule("Wide", aftermath=120)
    clock = Clock(rule("Near", inhibits=("Wide",)), wide, repeat=0)
    assert clock.step(15, "Near", "Wide") == ["Near firing"]
    assert clock.step(15, "Wide") == ["Near resolved"]
    assert clock.step(60, "Wide") == []
    assert clock.step(120, "Wide") == ["Wide firing"], "what outlasts the other is a matter of its own"


def test_one_group_does_not_speak_for_another() -> None:
    near = rule("Near", inhibits=("Wide",), by=("queue",))
    clock = Clock(near, rule("Wide", by=("queue",)))
    clock.now += 15
    changed = clock.alerts.update(near, {(("queue", "a"),): Value(9)}, clock.now)
    changed += clock.alerts.update(
        clock.rules[1], {(("queue", "a"),): Value(9), (("queue", "b"),): Value(9)}, clock.now
    )
    told = clock.alerts.due({each.name: each for each in clock.rules}, changed, clock.now)
    assert [(each.rule, each.labels["queue"]) for each in told] == [("Near", "a"), ("Wide", "b")]


def test_a_rule_that_is_no_more_ends_its_alerts() -> None:
    clock = Clock()
    clock.step(15, "Full")
    ended = clock.alerts.end_unknown([], clock.now)
    assert [alert.state for alert in ended] == [RESOLVED]


def test_a_restart_tells_nothing_again() -> None:
    before, after = Clock(repeat=0, cooldown=300), Clock(repeat=0, cooldown=300)
    before.step(15, "Full")
    after.alerts.restore(orjson.loads(orjson.dumps(before.alerts.state())))
    after.now = before.now
    assert [after.step(15, "Full") for _ in range(5)] == [[]] * 5
    assert after.step(15) == ["Full resolved"]
    third = Clock(repeat=0, cooldown=300)
    third.alerts.restore(orjson.loads(orjson.dumps(after.alerts.state())))
    third.now = after.now
    assert third.step(15, "Full") == [], "it is still within the cooldown"


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    clock = Clock(repeat=0, cooldown=300)
    clock.step(15, "Full")
    clock.step(15)
    clock.now -= 100_000
    told = [each for _ in range(30) for each in clock.step(15, "Full")]
    assert told == ["Full firing"]


def test_a_notification_survives_being_written_down() -> None:
    (told,) = Clock(rule(recipients=("a@example.org",))).notifications(15, "Full")
    assert told.recipients == ("a@example.org",)
    assert Notification.restored(orjson.loads(orjson.dumps(told.state()))) == told


def test_an_alert_without_a_finite_value_survives_a_restart() -> None:
    before, after = Clock(), Clock()
    before.alerts.update(before.rules[0], {(): Value(float("inf"))}, before.now)
    after.alerts.restore(orjson.loads(orjson.dumps(before.alerts.state())))
    assert [finite(alert.value) for alert in after.alerts.known.values()] == [None]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"since": "yesterday"}, "since of an alert is 'yesterday', and no float"),
        ({"announced": 1}, "announced of an alert is '1', and no bool"),
        ({"labels": ["a"]}, r"labels of an alert is \"\['a'\]\", and no dict"),
        ({"labels": {"a": 1}}, "labels of an alert has other values than texts"),
        ({"state": "asleep"}, "an alert is 'asleep'"),
        ({"mood": "good"}, "an alert has other fields: mood"),
    ],
)
def test_an_alert_that_is_not_what_was_written_down_is_an_error(changes: dict[str, object], fault: str) -> None:
    clock = Clock()
    clock.step(15, "Full")
    state = orjson.loads(orjson.dumps(clock.alerts.state()))
    with pytest.raises(UnreadableError, match=fault):
        Clock().alerts.restore([state[0] | changes])


def test_what_is_known_is_bounded() -> None:
    clock = Clock(rule(by=("queue",)))
    values = {(("queue", str(number)),): Value(9.0) for number in range(5000)}
    clock.alerts.update(clock.rules[0], values, clock.now)
    assert len(clock.alerts.known) == 1000
    clock.alerts.due({}, clock.alerts.update(clock.rules[0], {}, clock.now + 1), clock.now + 1)
    clock.alerts.due({}, [], clock.now + 100_000)
    assert not clock.alerts.known, "and forgotten after a day"
