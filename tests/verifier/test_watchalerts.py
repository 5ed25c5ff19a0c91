"""Alerts, what is kept of them, and what is said of times and sources, apart from any log."""

import json
from pathlib import Path
from typing import Any

import pytest
from hooks import Hook
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import Malformed
from verifier_cli import watchhooks
from verifier_cli.watchalerts import (
    COUNTS_AS,
    LASTING,
    MOST,
    Alerts,
    Condition,
    WatchState,
    load_state,
    save_state,
    state_path,
)
from verifier_cli.watchhooks import Webhook, host_of
from verifier_cli.watchrules import in_words, stale

ORIGIN = "log.example.gov/access/2026"
_kinds = st.sampled_from(sorted(COUNTS_AS))
_keys = st.sampled_from(["", "1", "2"])


@given(st.lists(st.tuples(_kinds, st.frozensets(_keys)), max_size=20))
def test_every_condition_is_raised_once_and_ended_once_however_they_come(
    rounds: list[tuple[str, frozenset[str]]],
) -> None:
    alerts = Alerts(ORIGIN)
    firing: set[tuple[str, str]] = set()
    for now, (kind, keys) in enumerate(rounds, 1_000):
        conditions = [Condition(kind, key, "words", 7) for key in keys]
        events = alerts.judge(kind, conditions, now, 3)
        alerts = Alerts(ORIGIN, alerts)  # as after a restart
        before = {key for of, key in firing if of == kind}
        began = {event["key"] for event in events if event["event"] == "began"}
        ended = {event["key"] for event in events if event["event"] == "ended"}
        assert began == keys - before
        assert ended == (set() if kind in LASTING else before - keys)
        assert len(events) == len(began) + len(ended)
        firing |= {(kind, key) for key in began}
        firing -= {(kind, key) for key in ended}
        assert {(alert.kind, alert.key) for alert in alerts} == firing


def test_an_event_that_ends_names_the_alert_that_began() -> None:
    alerts = Alerts(ORIGIN)
    (began,) = alerts.judge("stale", [Condition("stale", "", "old", 5)], 10, 3)
    (ended,) = alerts.judge("stale", [], 20, 4)
    assert began["alert"] == ended["alert"] and (began["ended"], ended["ended"]) == (None, 20)
    assert (ended["since"], ended["raised"], ended["counts_as"]) == (5, 10, "missing")
    (again,) = alerts.judge("stale", [Condition("stale", "", "old", 25)], 30, 4)
    assert again["alert"] != began["alert"]


def test_text_that_moves_a_cursor_or_names_a_folder_does_not_get_into_an_event() -> None:
    condition = Condition(
        "violation", "7 x", "bad \x1b[2J\u202e name", 5, {}, "/home/somebody/violation-7.json"
    )
    (event,) = Alerts(ORIGIN).judge("violation", [condition], 10, 3)
    assert "\x1b" not in json.dumps(event) and "\u202e" not in event["text"]
    assert "\\u001b" not in json.dumps(event) and "somebody" not in json.dumps(event)


def test_a_log_that_goes_on_breaking_rules_does_not_fill_the_disk() -> None:
    alerts = Alerts(ORIGIN)
    events = []
    for number in range(3 * MOST):
        events += alerts.judge("violation", [Condition("violation", str(number), "words", 5)], number, 3)
    assert len(events) == len(list(alerts)) == MOST
    assert alerts.full("violation") and not alerts.full("fork") and not alerts.full("silent")


def test_what_is_kept_is_read_back_and_anything_else_is_not_taken_for_it(tmp_path: Path) -> None:
    path = state_path(tmp_path / "deep" / "seen")
    assert load_state(path, ORIGIN) == WatchState(ORIGIN)
    alerts = Alerts(ORIGIN)
    alerts.judge("silent", [Condition("silent", "3", "words", 5, {"source": 3})], 10, 3)
    state = WatchState(ORIGIN, list(alerts), {"w": 7}, 9, 11, 600, {"hash": [{"event": "began"}]})
    save_state(path, state)
    assert load_state(path, ORIGIN) == state
    with pytest.raises(Malformed, match="move it away"):
        load_state(path, "another.example/log")
    true = json.loads(path.read_text())
    changes: list[dict[str, Any]] = [
        {"schema": "x"}, {"firing": [{}]}, {"firing": 7}, {"more": 1},
        {"firing": [true["firing"][0] | {"kind": "unheard"}]},
    ]  # fmt: skip
    for change in changes:
        path.write_text(json.dumps(true | change))
        with pytest.raises(Malformed):
            load_state(path, ORIGIN)
    path.write_bytes(b"{")
    with pytest.raises(Malformed):
        load_state(path, ORIGIN)


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a/", "http://", "http://[", "http://a:0/", "http://a:99999/"]
)
def test_a_webhook_needs_an_http_address(url: str) -> None:
    with pytest.raises(Malformed):
        host_of(url)


def test_a_webhook_that_takes_nothing_for_long_loses_the_oldest_and_counts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchhooks, "WAITING", 3)
    said: list[str] = []
    with Hook() as server:
        server.status = 503
        hook = Webhook(server.url, [{"n": 0}], said.append, first_wait=0.01)
        for n in range(1, 6):
            hook.put({"n": n})
        assert [event["n"] for event in hook.waiting()] == [3, 4, 5]
        assert hook.lost == 3
        while hook.failures < 2:
            assert not hook.flush(5)
        server.status = 200
        while not hook.flush(5):
            pass
        hook.close(5)
    assert [event["n"] for event in server.events] == [3, 4, 5]
    assert hook.waiting() == [] and hook.delivered == 3
    assert len(said) == 2 and "answered 503" in said[0] and "takes events again" in said[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (61, "1 minute 1 second"),
        (3600, "1 hour"),
        (180_000, "2 days 2 hours"),
    ],
)
def test_lengths_of_time_are_in_words(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


def test_a_log_without_a_time_by_a_witness_is_not_called_stale() -> None:
    found: list[Any] = stale(None, 10**9, 1)
    assert found == []
    assert stale(100, 160, 60) == [] and stale(100, 161, 60)[0].since == 160
