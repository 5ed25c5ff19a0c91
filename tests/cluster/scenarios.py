"""What may happen to a log of many processes.  Each is done while records are handed in, and leaves it to `heal`.

A scenario gets a `Story`, which notes how long somebody else took to take over, where somebody had to.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import httpx
from breakingproxy import Fault
from cluster import Node, answers, wait_for
from cutwire import Mode, Wire
from story import Story

STOPPED_S = 9.0
"""Longer than a lease."""

ENDED_S = 30.0
ANSWERED_S = 30.0
"""A ledger whose database or publisher is silent answers within this time."""


Scenario = Callable[[Story], None]


# -- processes ---------------------------------------------------------------------------------------------


def killed(role: str) -> Scenario:
    def scenario(story: Story) -> None:
        story.takes_over(role, Node.kill)

    return scenario


def stopped(role: str) -> Scenario:
    """SIGSTOP for longer than the lease, and SIGCONT."""

    def scenario(story: Story) -> None:
        begun = time.monotonic()
        former = story.takes_over(role, Node.stop)
        time.sleep(max(0.0, begun + STOPPED_S - time.monotonic()))
        said = former.has_said
        former.go_on()
        story.stands_by(role, former, said)
        story.wait_for_work(role)

    return scenario


def publisher_stopped_after_signing(story: Story) -> None:
    """Its witness does not answer it: what it has signed is not published when it is stopped."""

    def stop(leader: Node) -> None:
        leader.witness.set("hangs")

        def has_signed() -> bool:
            row = story.publication()
            return row.signed_size > row.published_size

        wait_for("something is signed", has_signed)
        leader.stop()

    former = story.takes_over("publisher", stop)
    said = former.has_said
    former.witness.set("passes")
    former.go_on()
    story.stands_by("publisher", former, said)
    story.wait_for_work("publisher")


def publisher_stopped_while_it_publishes(story: Story) -> None:
    """Its put of `checkpoint` is on its way when it is stopped, and arrives when others have published more."""

    def stop(leader: Node) -> None:
        leader.faults.release.clear()
        asked = len(leader.faults.asked)
        leader.faults.fault = lambda method, path: (
            "late" if method == "PUT" and path.endswith("/checkpoint") else None
        )
        wait_for("it publishes", lambda: any(
            method == "PUT" and path.endswith("/checkpoint") for method, path in leader.faults.asked[asked:]
        ))  # fmt: skip
        leader.stop()

    former = story.takes_over("publisher", stop)
    said = former.has_said
    already = len(former.faults.late)
    former.faults.release.set()
    former.faults.fault = lambda _method, _path: None
    wait_for("the put has come, late", lambda: len(former.faults.late) > already)
    assert set(former.faults.late[already:]) == {412}, former.faults.late
    former.go_on()
    story.stands_by("publisher", former, said)
    story.wait_for_work("publisher")


def ledger_killed(story: Story) -> None:
    ledger = story.chance.choice(story.cluster.ledgers)
    for _ in range(3):
        time.sleep(story.chance.uniform(0.1, 1))
        ledger.kill()
        ledger.start()
        wait_for(f"{ledger.name} is up", lambda: is_ready(ledger))


def ledger_stopped(story: Story) -> None:
    ledger = story.chance.choice(story.cluster.ledgers)
    time.sleep(story.chance.uniform(0, 0.3))
    ledger.stop()
    story.wait_for_work("sequencer")
    time.sleep(STOPPED_S)
    ledger.go_on()
    wait_for(f"{ledger.name} is ready again", lambda: is_ready(ledger))


def entries_leave(interrupt: Callable[[Node], object]) -> Scenario:
    """With `keep_days = 0`; a sequencer is interrupted in the middle of it, and a publisher killed with it."""

    def scenario(story: Story) -> None:
        cluster, held = story.cluster, 0
        story.leaves = True
        cluster.keep(0)
        try:

            def break_it(leader: Node) -> None:
                nonlocal held
                with story.entries_leaving():
                    held = story.held()
                    interrupt(leader)
                    cluster.leader("publisher").kill()

            former = story.takes_over("sequencer", break_it)
            wait_for("another one goes on with it", lambda: story.held() > held)
            story.wait_for_work("publisher")
            if former.stopped:
                said = former.has_said
                former.go_on()
                story.stands_by("sequencer", former, said)
            cluster.heal()
            held = story.held()
            wait_for("more leaves", lambda: story.held() > held)
        finally:
            cluster.heal()
            cluster.keep(None)
        story.wait_for_work("sequencer")

    return scenario


def publishers_begin_at_once(story: Story) -> None:
    for _ in range(2):
        for publisher in story.cluster.publishers:
            publisher.kill()
        for publisher in story.cluster.publishers:
            publisher.start()
        story.wait_for_work("publisher", 90)


def ended_while_the_database_is_silent(story: Story) -> None:
    """SIGTERM is obeyed all the same, in time that a service manager has."""
    cluster = story.cluster
    ending = [cluster.leader("sequencer"), cluster.leader("publisher"), story.chance.choice(cluster.ledgers)]
    for node in ending:
        node.database.set("hangs")
    time.sleep(story.chance.uniform(0, 4))
    for node in ending:
        begun = time.monotonic()
        assert node.end() in (0, -signal.SIGTERM), node.name
        assert time.monotonic() - begun < ENDED_S, node.name
    story.wait_for_work("sequencer")
    story.wait_for_work("publisher")


# -- the network -------------------------------------------------------------------------------------------


def cut_from_database(role: str, mode: Mode) -> Scenario:
    def scenario(story: Story) -> None:
        former = story.takes_over(role, lambda leader: leader.database.set(mode))
        time.sleep(story.chance.uniform(0, 3))
        said = former.has_said
        former.database.set("passes")
        story.stands_by(role, former, said)
        story.wait_for_work(role)

    return scenario


def publisher_cut(wire_of: Callable[[Node], Wire], mode: Mode) -> Scenario:
    """Only the leader is cut off from bucket or witness; the other publisher is not."""

    def scenario(story: Story) -> None:
        former = story.takes_over("publisher", lambda leader: wire_of(leader).set(mode))
        time.sleep(story.chance.uniform(0, 3))
        wire_of(former).set("passes")
        story.wait_for_work("publisher")

    return scenario


def ledger_cut_from_database(mode: Mode) -> Scenario:
    """It answers 503 in bounded time, as long as it must, and goes on by itself."""

    def scenario(story: Story) -> None:
        ledger = story.chance.choice(story.cluster.ledgers)
        ledger.database.set(mode)
        begun = time.monotonic()
        answer = httpx.get(f"{ledger.url}/readyz", trust_env=False, timeout=ANSWERED_S)
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert httpx.get(f"{ledger.url}/healthz", trust_env=False, timeout=5).status_code == 200
        time.sleep(max(0.0, begun + 8 - time.monotonic()))
        story.wait_for_work("publisher")  # the other ledger's records
        ledger.database.set("passes")
        wait_for(f"{ledger.name} is ready again", lambda: is_ready(ledger), 40)

    return scenario


def ledger_cut_from_publisher(mode: Mode) -> Scenario:
    """It takes entries, answers 503 in bounded time to who asks for receipts, and gives them again by itself."""

    def scenario(story: Story) -> None:
        ledger, other = story.chance.sample(story.cluster.ledgers, 2)

        def receipt(of: Node = ledger) -> str:
            return f"{of.url}/v1/receipts/{story.published_leaf().hex()}"

        wait_for(f"{ledger.name} gives receipts", lambda: answers(receipt()))
        ledger.publisher.set(mode)
        for _ in range(2):
            answer = httpx.get(receipt(), trust_env=False, timeout=ANSWERED_S)
            assert answer.status_code == 503 and answer.headers["retry-after"], answer.text
            assert is_ready(ledger)
        wait_for(f"{other.name} gives receipts meanwhile", lambda: answers(receipt(other)), 10)
        story.wait_for_work("publisher")
        ledger.publisher.set("passes")
        wait_for(f"{ledger.name} gives receipts again", lambda: answers(receipt()), 40)

    return scenario


def everything_is_slow(story: Story) -> None:
    for node in story.cluster.nodes.values():
        for wire in node.wires:
            wire.set("slow")
    time.sleep(10)


# -- database and bucket ---------------------------------------------------------------------------------------


def database_restarted(story: Story) -> None:
    story.cluster.postgres.restart()
    story.wait_for_work("sequencer")
    story.wait_for_work("publisher")


def database_killed(story: Story) -> None:
    story.cluster.postgres.kill()
    time.sleep(story.chance.uniform(0, 2))
    story.cluster.postgres.start()
    story.wait_for_work("sequencer")
    story.wait_for_work("publisher")


def bucket_faulty(fault: Fault) -> Scenario:
    """For all; entries go on being accepted and sequenced."""

    def scenario(story: Story) -> None:
        for node in story.cluster.nodes.values():
            node.faults.release.clear()
            node.faults.slow_s = 2.0
            node.faults.fault = lambda _method, _path: fault
        time.sleep(5)
        story.wait_for_work("sequencer")
        time.sleep(5)
        for node in story.cluster.nodes.values():
            node.faults.fault = lambda _method, _path: None
            node.faults.release.set()
        story.wait_for_work("publisher")

    return scenario


def bucket_killed(story: Story) -> None:
    story.cluster.server.kill()
    story.wait_for_work("sequencer")
    time.sleep(3)
    story.cluster.server.restart()
    story.wait_for_work("publisher", 90)


def everything_at_once(story: Story) -> None:
    """One fault a second or so at any process, wire or server, several at a time."""
    cluster, chance = story.cluster, story.chance
    end = time.monotonic() + 25
    while time.monotonic() < end:
        node = chance.choice(list(cluster.nodes.values()))
        wire = chance.choice([node.database, *node.wires])
        mode: Mode = chance.choice(["hangs", "refuses", "slow", "hangs inside"])
        faults: list[Callable[[], None]] = [
            node.kill,
            node.stop,
            lambda wire=wire, mode=mode: wire.set(mode),  # type: ignore[misc]
            lambda wire=wire, mode=mode: wire.set(mode),  # type: ignore[misc]
            lambda: None if chance.random() < 0.7 else cluster.postgres.restart(),
            cluster.heal,
        ]
        chance.choice(faults)()
        time.sleep(chance.uniform(0.2, 2))


def is_ready(ledger: Node) -> bool:
    try:
        return httpx.get(f"{ledger.url}/readyz", trust_env=False, timeout=20).status_code == 200
    except httpx.HTTPError:
        return False


SCENARIOS: dict[str, Scenario] = {
    "sequencer killed": killed("sequencer"),
    "publisher killed": killed("publisher"),
    "ledger killed": ledger_killed,
    "sequencer stopped and continued": stopped("sequencer"),
    "publisher stopped and continued": stopped("publisher"),
    "publisher stopped after signing": publisher_stopped_after_signing,
    "publisher stopped while it publishes": publisher_stopped_while_it_publishes,
    "ledger stopped and continued": ledger_stopped,
    "ended while the database is silent": ended_while_the_database_is_silent,
    "entries leave, the sequencer is killed": entries_leave(Node.kill),
    "entries leave, the sequencer is stopped and continued": entries_leave(Node.stop),
    "both publishers begin at once": publishers_begin_at_once,
    "database restarted": database_restarted,
    "database killed": database_killed,
    "sequencer and database: silence": cut_from_database("sequencer", "hangs"),
    "sequencer and database: silence in the middle of a message": cut_from_database(
        "sequencer", "hangs inside"
    ),
    "sequencer and database: refused": cut_from_database("sequencer", "refuses"),
    "publisher and database: silence": cut_from_database("publisher", "hangs"),
    "publisher and database: refused": cut_from_database("publisher", "refuses"),
    "publisher and bucket: silence": publisher_cut(lambda node: node.bucket, "hangs"),
    "publisher and bucket: refused": publisher_cut(lambda node: node.bucket, "refuses"),
    "publisher and witness: silence": publisher_cut(lambda node: node.witness, "hangs"),
    "publisher and witness: refused": publisher_cut(lambda node: node.witness, "refuses"),
    "ledger and database: silence": ledger_cut_from_database("hangs"),
    "ledger and database: refused": ledger_cut_from_database("refuses"),
    "ledger and publisher: silence": ledger_cut_from_publisher("hangs"),
    "ledger and publisher: refused": ledger_cut_from_publisher("refuses"),
    "bucket refuses": bucket_faulty("refused"),
    "bucket slow": bucket_faulty("slow"),
    "bucket silent": bucket_faulty("hangs"),
    "bucket killed": bucket_killed,
    "everything slow": everything_is_slow,
    "everything at once": everything_at_once,
}
