"""`stats`: every number equals a recount of the entries' bytes by code that shares nothing with it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import recount
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logfactory import DAY, NOW, LogFactory
from ran import Run

from ledger.core.encoding import format_date, month_of
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.statements import sign_source

SEAL = month_of(DAY) + 2
ACTIVITY: dict[str, Any] = {"purpose": [], "legal_basis": [], "data": []}
ACTIVITIES = {
    "1": ACTIVITY | {"text": {"en": "To care", "cy": "I ofalu"}},
    "2": ACTIVITY | {"text": {"en": '=HYPERLINK("http://evil")'}},
}


def _stats(run: Run, *more: object) -> Any:
    return run(
        "stats", "--policy", "policy.txt", "--log", "public", "--audit", "a.sqlite", "--jobs", "1", *more
    )


def _busy() -> LogFactory:
    """Two sources with open, sealed, late, suspect and forged records, covered days and silent ones."""
    log = LogFactory()
    since = {"since": format_date(DAY - 4), "seal_months": 6, "activities": ACTIVITIES}
    health = log.add_source("Ministry of Health", **since)
    tax = log.add_source('@Tax, "office"', **since)
    for number in range(12):
        log.access(health, day=DAY - number % 3, activity=1 + number % 2)
    log.access(health, day=DAY, seal=SEAL)
    log.access(tax, day=DAY - 40, seal=SEAL + 1)
    log.coverage(health, DAY, 5)
    log.access(health, day=DAY)
    log.coverage(health, DAY - 2, 4)
    log.access(tax, day=DAY - 1)
    log.seal_batch()
    log.change_source(tax, status="revoked", revoked=format_date(DAY - 1))
    return log


@pytest.fixture
def log() -> LogFactory:
    return _busy()


def test_numbers_are_those_of_a_recount_for_every_kind_of_row_and_filter(
    run: Run, files: Path, log: LogFactory
) -> None:
    days = format_date(DAY - 1), format_date(DAY)
    for by in ("source", "day", "month", "activity", "seal"):
        for filters, takes in (
            ((), lambda source, day: True),
            (("--source", 1), lambda source, day: source == 1),
            (("--from", days[0], "--to", days[1]), lambda source, day: DAY - 1 <= day <= DAY),
        ):
            ran = _stats(run, "--by", by, "--json", *filters)
            assert ran.exit == 0, ran.out
            assert set(ran.json["result"]) == {
                "log", "audited", "by", "from", "to", "rows", "totals", "sealed", "violations",
            }  # fmt: skip
            assert _numbers(ran.json["result"]["rows"]) == recount.table(log.entries, NOW, by, takes), (
                by,
                filters,
            )


def _numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name in recount.MEMBERS} for row in rows]


_steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "sealed", "forged", "coverage", "root", "revoke", "retire", "save"]),
        st.integers(0, 1),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(_steps)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_a_log_holds_the_tables_are_those_of_a_recount(
    run: Run, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Violations too (forged signatures, wrong coverage, records after a revocation), and audits taken on later."""
    folder = tmp_path_factory.mktemp("log")
    log = LogFactory()
    for name in ("One", "Two"):
        log.add_source(name, since=format_date(DAY - 3), seal_months=6, activities=ACTIVITIES)
    (folder / "policy.txt").write_text(log.policy_text())
    where = (
        "stats", "--policy", folder / "policy.txt", "--log", folder, "--audit", folder / "a.sqlite", "--jobs", "1",
    )  # fmt: skip
    for step, number, back in steps:
        source, day = log.sources[number], DAY - back
        if step in ("open", "sealed"):
            log.access(source, day=day, activity=1 + back % 2, seal=SEAL + back if step == "sealed" else 0)
        elif step == "forged":
            log.access(source, day=day, key=Ed25519PrivateKey.generate())
        elif step == "coverage":
            log.coverage(source, day, 1)
        elif step == "root":
            log.seal_batch()
        elif step == "save":
            log.publish(folder)
            run(*where)
        elif log.version(source).status == "active" or step == "revoke":
            status = {"revoke": "revoked", "retire": "retired"}[step]
            before = log.version(source)
            kept = {
                name: value for name, value in before.statement.items() if name not in ("retired", "revoked")
            }
            statement = kept | {"status": status, status: format_date(day)}
            log.append(sign_source(log.registrar, log.register.charter, source.number, statement, before))
    log.publish(folder)
    for by in ("source", "day", "activity", "seal"):
        ran = run(*where, "--by", by, "--json")
        assert ran.exit in (0, 1)
        assert _numbers(ran.json["result"]["rows"]) == recount.table(log.entries, NOW, by)


def test_csv_holds_the_same_rows_and_no_formula(run: Run, files: Path, log: LogFactory) -> None:
    for by in ("source", "day", "month", "activity", "seal"):
        rows = _stats(run, "--by", by, "--json").json["result"]["rows"]
        ran = _stats(run, "--by", by, "--csv")
        assert ran.exit == 0 and "HOLDS" in ran.err
        found = list(csv.DictReader(io.StringIO(ran.out)))
        assert len(found) == len(rows)
        for line, row in zip(found, rows, strict=True):
            assert (line.pop("origin"), line.pop("by")) == (log.origin, by)
            assert int(line.pop("size")) == log.size and line.pop("root")
            expected = {name: "" if value is None else str(value) for name, value in row.items()}
            for name, text in line.items():
                assert not text.startswith(("=", "+", "-", "@"))
                assert text.removeprefix("'") == expected[name]
    assert "'@Tax" in ran.out or by != "seal"


def test_the_table_says_up_to_where_it_goes_and_names_departments_and_activities(
    run: Run, files: Path, log: LogFactory
) -> None:
    ran = _stats(run)
    assert ran.exit == 0
    assert (
        f"counted from {log.size} entries, all of them audited under the checkpoint of size {log.size}"
        in ran.out
    )
    assert "Ministry of Health" in ran.out and "Sealed records, by the month in which they open" in ran.out
    assert "\x1b" not in ran.out
    cymraeg = _stats(run, "--by", "activity", "--lang", "cy")
    assert "I ofalu" in cymraeg.out and "(cy)" in cymraeg.out
    assert "(sealed: not shown)" in cymraeg.out


def test_what_is_not_audited_yet_is_not_counted_and_the_result_says_so(
    run: Run, files: Path, log: LogFactory
) -> None:
    assert _stats(run, "--audited").exit == 3
    before = _stats(run, "--json").json["result"]
    size = log.size
    for _ in range(3):
        log.access(log.sources[0])
    log.publish(files / "public")
    ran = _stats(run, "--audited", "--json")
    assert ran.exit == 0
    assert f"the first {size} of {log.size} entries" in ran.json["message"]
    assert ran.json["result"]["audited"]["size"] == size
    assert ran.json["result"]["totals"] == before["totals"] | {"silent_days": None}
    assert _stats(run, "--json").json["result"]["totals"]["records"] == before["totals"]["records"] + 3


def test_a_log_with_a_violation_is_counted_and_refuted(run: Run, files: Path, log: LogFactory) -> None:
    forged = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    log.publish(files / "public")
    for _ in range(2):  # also when the audit that found it was another run's
        ran = _stats(run, "--json")
        assert ran.exit == 1 and f"at entry {forged}" in ran.json["message"]
        kept = json.loads(Path(ran.json["evidence_file"]).read_text())["evidence"]
        assert kept["violations"][0]["index"] == forged
        assert ran.json["result"]["rows"]


def test_a_false_copy_is_not_counted_and_leaves_nothing_behind(
    run: Run, files: Path, log: LogFactory
) -> None:
    bundle = next((files / "public/tile/entries/000.p").iterdir())
    true = bundle.read_bytes()
    bundle.write_bytes(true[:-1] + bytes((true[-1] ^ 1,)))
    ran = _stats(run, "--json")
    assert ran.exit == 1 and ran.json["result"] == {}
    bundle.write_bytes(true)
    assert _stats(run).exit == 0


def test_an_audit_of_another_history_is_a_fork(run: Run, files: Path, log: LogFactory) -> None:
    assert _stats(run).exit == 0
    other = LogFactory()
    other.add_source("Another story")
    while other.size < log.size + 2:
        other.access(other.sources[0])
    other.publish(files / "public")
    ran = _stats(run)
    assert ran.exit == 1 and "does not begin with" in ran.err


def test_an_older_copy_than_the_audit_is_not_counted(run: Run, files: Path, log: LogFactory) -> None:
    old = (files / "public/checkpoint").read_bytes()
    log.access(log.sources[0])
    log.publish(files / "public")
    assert _stats(run).exit == 0
    (files / "public/checkpoint").write_bytes(old)
    ran = _stats(run)
    assert ran.exit == 3 and "an older copy" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        ["--by", "week"],
        ["--json", "--csv"],
        ["--from", "2026-13-01"],
        ["--from", "20260101"],
        ["--from", "2026-02-01", "--to", "2026-01-31"],
    ],
)
def test_a_wrong_question_is_usage(run: Run, files: Path, args: list[str]) -> None:
    ran = _stats(run, *args)
    assert ran.exit == 2 and "Error" in ran.err


def test_an_audit_file_that_is_none_could_not_be_used(run: Run, files: Path) -> None:
    Path("a.sqlite").write_bytes(b"no database" * 100)
    ran = _stats(run)
    assert ran.exit == 3 and "a.sqlite" in ran.err
