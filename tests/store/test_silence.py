"""A server that is there and says nothing, or that half of a statement has reached: bounded for the process that waits,
and for everybody whom its locks keep off."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cutwire import Network, Wire
from engines import new_url
from postgresserver import PostgresServer

from ledger.core.index import EMPTY
from ledger.core.merkle import EMPTY_ROOT
from ledger.store import Connection, OutcomeUnknown, Store, StoreBusy, log, postgres
from ledger.store.engine import run

SLACK_S = 6.0
"""What a busy machine may add."""


@pytest.fixture
def wire() -> Iterator[Wire]:
    network = Network()
    yield network.wire(PostgresServer.shared().port)
    network.close()


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(new_url("postgresql", tmp_path), create=True)
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))
    yield store
    store.close()


@pytest.fixture
def through(direct: Store, wire: Wire) -> Iterator[Store]:
    """The same database, through the wire."""
    url = direct.engine.url.set(drivername="postgresql", port=wire.port).render_as_string(hide_password=False)
    store = Store.open(url)
    yield store
    store.close()


def count(db: Connection) -> None:
    run(db, "UPDATE state SET labels = labels + 1 WHERE id = 1")


def test_a_silent_server_holds_a_process_up_for_ever(through: Store, wire: Wire) -> None:
    with pytest.raises(StoreBusy, match="said nothing for 10 s"), through.read() as db:
        wire.set("hangs")
        begun = time.monotonic()
        log.read_state(db)
    assert postgres.ANSWER_S <= time.monotonic() - begun < postgres.ANSWER_S + SLACK_S
    begun = time.monotonic()
    with pytest.raises(StoreBusy):  # neither a connection that is left nor a new one is waited for as long
        through.change(count)
    assert time.monotonic() - begun < 3 * postgres.PING_S + SLACK_S
    wire.set("passes")
    through.change(count)


def test_a_commit_that_nobody_answers_is_taken_for_done_or_for_not_done(
    direct: Store, through: Store, wire: Wire
) -> None:
    with pytest.raises(OutcomeUnknown), through.write() as db:
        count(db)
        wire.set("hangs")
    with direct.read() as db:
        assert log.read_state(db).labels == 0
    direct.change(count)  # not kept off: the server has ended the transaction by now


def test_a_statement_of_which_half_has_come_keeps_everybody_off(
    direct: Store, through: Store, wire: Wire
) -> None:
    """To the server it is neither idle nor at work, so that no other time-out ends its transaction."""
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with through.write() as db:
                count(db)
                wire.set("hangs inside")
                run(db, "SELECT LENGTH(CAST(? AS bytea))", (os.urandom(200_000),))
        except BaseException as error:
            failed.append(error)

    writing = threading.Thread(target=write)
    begun = time.monotonic()
    writing.start()
    while wire.mode != "hangs":
        assert time.monotonic() - begun < SLACK_S
        time.sleep(0.01)
    done = False
    while not done:
        try:
            direct.change(count)
            done = True
        except StoreBusy:
            assert time.monotonic() - begun < 2 * postgres.TRANSACTION_TIMEOUT_MS / 1000 + SLACK_S
    assert time.monotonic() - begun < postgres.TRANSACTION_TIMEOUT_MS / 1000 + SLACK_S
    writing.join(postgres.ANSWER_S + SLACK_S)
    assert [type(error) for error in failed] == [StoreBusy]
    with direct.read() as db:
        assert log.read_state(db).labels == 1
