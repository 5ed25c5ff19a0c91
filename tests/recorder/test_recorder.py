"""Code that records its own accesses: when they are durable, what they say, and what is refused."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from logfactory import ACTIVITIES, NOW
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

from ledger.core.errors import GlassbookError
from ledger.department.client import AccessRecorder, AccessRefused, NotRecorded

AT = datetime.fromtimestamp(NOW, UTC)


def waiting(small: SmallDepartment) -> int:
    """Records that are not held back."""
    db = sqlite3.connect(small.home_folder / "outbox.sqlite")
    ((count,),) = db.execute(
        "SELECT count(*) FROM records WHERE leaf_hash NOT IN (SELECT leaf_hash FROM held WHERE until > ?)",
        (int(time.time()),),
    ).fetchall()
    db.close()
    return int(count)


def test_the_record_is_durable_before_the_block_runs(small: SmallDepartment, access: AccessRecorder) -> None:
    with access.record(subject="id:anna", activity=1, actor="u77"):
        (claims,) = claims_in_outbox(small)
        assert claims["event"]["outcome"] == "not stated"
        assert waiting(small) == 0  # it may still be told how it went
    (claims,) = claims_in_outbox(small)
    assert waiting(small) == 1
    assert claims["event"] == {
        "at": "2026-07-02T13:46:40.000Z", "action": "https://w3id.org/dpv#Consult", "outcome": "success",
    }  # fmt: skip
    assert claims["actor"] == {"id": "u77", "automated": False}
    assert claims["reason"] == {"text": "case work"}
    assert claims["purpose"]["activity"] == 1 and claims["data"]["categories"]


def test_an_exception_is_an_access_that_failed(small: SmallDepartment, access: AccessRecorder) -> None:
    with pytest.raises(ZeroDivisionError), access.record(subject="id:anna", activity=1):
        1 / 0  # noqa: B018
    (claims,) = claims_in_outbox(small)
    assert claims["event"]["outcome"] == "failure"
    assert waiting(small) == 1


def test_the_block_can_say_what_it_touched_and_how_it_went(
    small: SmallDepartment, access: AccessRecorder
) -> None:
    with access.record(subject="id:anna", activity=1, data=["name"], event={"result": "opened"}) as entry:
        entry.fields += ["address", "file of anna"]
        entry.outcome = "failure"
    (claims,) = claims_in_outbox(small)
    assert claims["data"]["fields"] == ["name", "address", "file of …"]
    assert claims["event"]["outcome"] == "failure" and "result" not in claims["event"]


def test_every_claim_of_the_format_can_be_stated(small: SmallDepartment, access: AccessRecorder) -> None:
    with access.record(
        subject="id:anna",
        activity=1,
        actor={"id": "u77", "role": "nurse", "unit": "North", "on_behalf_of": "Hospital", "automated": False},
        event={"at": AT, "result": "appeared", "system": "ehr", "trace_id": "ab" * 16},
        data={"categories": ["https://w3id.org/dpv/pd#HealthRecord"], "fields": ("name", "anna's file")},
        reason={"text": "asked by anna", "case": "Z-1"},
        recipient="Tax office",
    ):
        pass
    (claims,) = claims_in_outbox(small)
    assert claims["recipient"] == {"name": "Tax office", "passed_on": claims["event"]["at"]}
    assert claims["reason"] == {"text": "asked by anna", "case": "Z-1"}
    assert claims["data"]["fields"] == ["name", "…'s file"]
    assert claims["actor"]["role"] == "nurse" and claims["event"]["trace_id"] == "ab" * 16


def test_an_access_to_several_persons_makes_a_record_for_each(
    small: SmallDepartment, access: AccessRecorder
) -> None:
    with access.record(subject=["id:anna", "id:berta", "id:anna"], activity=1, data="list with berta"):
        pass
    both = claims_in_outbox(small)
    assert [claims["subject"] for claims in both] == ["id:anna", "id:berta"]
    assert [claims["data"]["fields"] for claims in both] == [["list with …"]] * 2
    assert {claims["event"]["outcome"] for claims in both} == {"success"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "colour: no such claim"),
    ({"actor": {"shoe": "red"}}, "actor.shoe: no such member"),
    ({"actor": {"automated": "yes"}}, "actor.automated: must be True or False"),
    ({"actor": 5}, "actor: must be text"),
    ({"actor": ["secret"]}, "actor: must be text"),
    ({"data": {"fields": [1]}}, "data.fields: must be a list of texts"),
    ({"data": {"fields": {"a": 1}}}, "data.fields: must be a list of texts"),
    ({"reason": {"text": 5}}, "reason.text: must be text"),
    ({"event": {"at": "yesterday"}}, "event.at: must be"),
    ({"event": {"at": datetime(2026, 7, 1)}}, "event.at: has no time zone"),
    ({"event": {"result": "stolen"}}, "event.result: must be"),
    ({"subject": "secret"}, "subject: not scheme:value"),
    ({"subject": "id:secret name"}, "subject: value holds a space"),
    ({"subject": []}, "subject: nobody"),
    ({"subject": [5]}, "subject: must be text"),
    ({"activity": "1"}, "activity: must be the number"),
    ({"seal": "next month"}, "seal: must be a month"),
    ({"seal": 5}, "seal: must be a month"),
]


@pytest.mark.parametrize(("stated", "what"), REFUSED)
def test_slips_are_refused_by_name_before_anything_happens(
    small: SmallDepartment, access: AccessRecorder, stated: dict[str, Any], what: str
) -> None:
    with pytest.raises(AccessRefused) as caught:
        access.record(**{"subject": "id:anna", "activity": 1, **stated})
    assert what in str(caught.value)
    assert "secret" not in str(caught.value) and "stolen" not in str(caught.value)


@pytest.mark.parametrize(
    ("stated", "where", "what"),
    [
        ({"activity": 9}, "access", "activity"),
        ({"subject": "nhs:9990000018"}, "access", "scheme"),
        ({"subject": "id:ANNA"}, "subject", "."),
        ({"event": {"at": "2031-01-01T00:00:00Z"}}, "access", "epoch"),
        ({"event": {"at": "2026-12-01T00:00:00Z"}}, "access", "future"),
        ({"reason": "x" * 70_000}, "access", "shorten"),
        ({"seal": "2026-12"}, "access", "seal"),
    ],
)
def test_what_the_register_does_not_allow_keeps_the_block_from_running(
    small: SmallDepartment, access: AccessRecorder, stated: dict[str, Any], where: str, what: str
) -> None:
    ran = []
    with (
        pytest.raises(AccessRefused, match=what) as caught,
        access.record(**{"subject": "id:anna", "activity": 1, **stated}),
    ):
        ran.append(1)
    assert caught.value.where == where and "ANNA" not in str(caught.value)
    assert not ran and claims_in_outbox(small) == []


def test_without_an_outbox_the_block_does_not_run(small: SmallDepartment, access: AccessRecorder) -> None:
    access.open()
    recording = access._recording
    assert recording is not None
    recording.run(lambda desk: desk.outbox._db.execute("PRAGMA busy_timeout=100")).result()
    outbox = sqlite3.connect(small.home_folder / "outbox.sqlite", isolation_level=None)
    outbox.execute("BEGIN IMMEDIATE")
    ran = []
    with (
        pytest.raises(NotRecorded, match="another program holds"),
        access.record(subject="id:anna", activity=1),
    ):
        ran.append(1)
    outbox.execute("ROLLBACK")
    with access.record(subject="id:anna", activity=1):
        outbox.execute("BEGIN IMMEDIATE")
    outbox.execute("ROLLBACK")
    outbox.close()
    assert not ran
    (claims,) = claims_in_outbox(small)
    assert claims["event"]["outcome"] == "not stated"  # recorded all the same


def test_a_folder_that_is_no_department_is_refused_when_the_program_starts(tmp_path: Path) -> None:
    with pytest.raises(GlassbookError, match="glassbook department init"):
        AccessRecorder(tmp_path)


def test_tasks_of_one_loop_record_at_once(small: SmallDepartment, access: AccessRecorder) -> None:
    async def one(number: int) -> None:
        async with access.record(subject=f"id:p{number % 3}", activity=1, actor=f"u{number}") as entry:
            await asyncio.sleep(0.01)
            if number == 5:
                entry.outcome = "failure"

    async def many() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))
        with pytest.raises(AccessRefused):
            async with access.record(subject="id:ANNA", activity=1):
                raise AssertionError
        task = asyncio.create_task(one(99))
        while len(claims_in_outbox(small)) < 21:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(many())
    outcomes = {claims["actor"]["id"]: claims["event"]["outcome"] for claims in claims_in_outbox(small)}
    assert len(outcomes) == 21
    assert {actor for actor, outcome in outcomes.items() if outcome != "success"} == {"u5", "u99"}


def test_a_sealed_access_goes_into_a_stream_of_its_own(
    small: SmallDepartment, access: AccessRecorder
) -> None:
    small.log.change_source(small.source, seal_months=12)
    small.ledger.publish()
    with access.record(subject="id:anna", activity=1, seal="2026-12"):
        pass
    with access.record(subject="id:anna", activity=1):
        pass
    with small.home() as home:
        assert [(s.seal, s.given) for s in home.outbox.streams()] == [(56 * 12 + 11, 1), (0, 1)]


def test_threads_share_a_recorder(small: SmallDepartment, access: AccessRecorder) -> None:
    def work(number: int) -> None:
        for i in range(5):
            with access.record(subject="id:anna", activity=1, actor=f"u{number}-{i}"):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claims = claims_in_outbox(small)
    assert len({c["actor"]["id"] for c in claims}) == len(claims) == 40
    assert {c["event"]["outcome"] for c in claims} == {"success"}


SOME = """
import sys
from ledger.department.client import AccessRecorder
with AccessRecorder(sys.argv[1], clock=lambda: float(sys.argv[2])) as access:
    for i in range(10):
        with access.record(subject="id:anna", activity=1, actor=f"{sys.argv[3]}-{i}", reason="r"):
            pass
"""


def test_many_processes_share_one_outbox(small: SmallDepartment) -> None:
    command = [sys.executable, "-c", SOME, str(small.home_folder), str(NOW)]
    processes = [subprocess.Popen([*command, f"u{number}"]) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len({claims["actor"]["id"] for claims in claims_in_outbox(small)}) == 30
    assert small.send().receipts == 30
    assert sorted(small.numbers_in_log("id:anna")) == list(range(1, 31))


PROGRAM = """
import sys, time
from ledger.department.client import AccessRecorder
access = AccessRecorder(sys.argv[1], clock=lambda: float(sys.argv[2]))
with access.record(subject="id:anna", activity=1, reason="r"):
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_program_killed_inside_the_block_leaves_its_record(
    small: SmallDepartment,
) -> None:
    now = time.time()
    command = [sys.executable, "-c", PROGRAM, str(small.home_folder), str(now)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"inside\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(claims_in_outbox(small)) == 1 and waiting(small) == 0
    db = sqlite3.connect(small.home_folder / "outbox.sqlite")
    ((until,),) = db.execute("SELECT until FROM held").fetchall()
    assert 590 <= until - now <= 620
    db.execute("UPDATE held SET until = ?", (int(time.time()) - 1,))  # ten minutes go by
    db.commit()
    db.close()
    assert waiting(small) == 1


def test_a_record_that_was_handed_in_is_not_changed_any_more(small: SmallDepartment) -> None:
    with AccessRecorder(small.home_folder, clock=lambda: float(NOW)) as access:
        with access.record(subject="id:anna", activity=1, reason="r"):
            db = sqlite3.connect(small.home_folder / "outbox.sqlite")
            db.execute("UPDATE held SET until = ?", (int(time.time()) - 1,))
            db.commit()
            db.close()
            sent = small.send()
        assert sent.receipts == 1
        assert claims_in_outbox(small) == []
        with access.record(subject="id:anna", activity=1, reason="r"):
            pass
    assert small.send().receipts == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_outbox_opened_before_a_fork_is_not_used_after_it(
    small: SmallDepartment, access: AccessRecorder
) -> None:
    access.open()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with access.record(subject="id:anna", activity=1):
                pass
        except NotRecorded as error:
            code = 0 if "fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_registration_that_changes_is_followed(small: SmallDepartment, access: AccessRecorder) -> None:
    with access.record(subject="id:anna", activity=1):
        pass
    activities = dict(small.log.version(small.source).activities)
    assert list(activities) == [1]
    with pytest.raises(AccessRefused), access.record(subject="id:anna", activity=2):
        pass
    small.log.change_source(small.source, activities=ACTIVITIES | {"2": ACTIVITIES["1"]})
    small.ledger.publish()
    with small.home() as home:  # as the running agent does
        home.registration(small.now, print)
    with access.record(subject="id:anna", activity=2):
        pass
    assert [claims["purpose"]["activity"] for claims in claims_in_outbox(small)] == [1, 2]
