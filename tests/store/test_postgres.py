"""What PostgreSQL does that SQLite does not: transactions side by side, a server that goes away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from engines import POOLED, new_url
from postgresserver import PostgresServer
from sqlalchemy import event

from ledger.core.index import EMPTY
from ledger.core.merkle import EMPTY_ROOT
from ledger.store import (
    Connection,
    OutcomeUnknown,
    Store,
    StoreBusy,
    StoreContended,
    StoreUnusable,
    inbox,
    log,
    postgres,
)
from ledger.store.arrays import ByteaArray, Int4Array, Int8Array, TextArray, pack_array
from ledger.store.engine import run


def begun(url: str) -> Store:
    store = Store.open(url, create=True)
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = begun(new_url("postgresql", tmp_path))
    yield store
    store.close()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=True) as server:
        yield server


def test_two_transactions_in_each_others_way_fail(store: Store) -> None:
    """Each takes what the other wants next: a deadlock, which the server ends by failing one of them."""
    with store.write() as db:
        run(db, "INSERT INTO day_counts VALUES (1, 1, 0), (1, 2, 0)")
    both, tries = threading.Barrier(2, timeout=10), []

    def change(days: tuple[int, int]) -> None:
        met = False

        def work(db: Connection) -> None:
            nonlocal met
            tries.append(days)
            for day in days:
                run(db, "UPDATE day_counts SET records = records + 1 WHERE day = ?", (day,))
                if not met:
                    met = True
                    both.wait()

        store.change(work)

    threads = [threading.Thread(target=change, args=(days,)) for days in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tries) == 3
    with store.read() as db:
        assert [log.read_day_count(db, 1, day) for day in (1, 2)] == [2, 2]


def test_behind_the_pooler_of_these_tests_a_session_lasts(tmp_path: Path) -> None:
    """It must not: what `url` stands for in the suites that run behind it would be a connection like any other."""
    store = begun(new_url(POOLED, tmp_path))
    sessions = set()
    for _ in range(8):
        with store.write() as db:
            sessions.add(run(db, "SELECT pg_backend_pid()").scalar())
    store.close()
    assert len(sessions) > 1


def test_a_serialization_failure_ends_a_change(store: Store) -> None:
    tries = []

    def work(db: Connection) -> None:
        run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        size = log.read_size(db)
        tries.append(size)
        if len(tries) == 1:
            with store.write() as other:
                run(other, "UPDATE state SET size = size + 10 WHERE id = 1")
        run(db, "UPDATE state SET size = ? WHERE id = 1", (size + 1,))

    store.change(work)
    assert tries == [0, 10]
    with store.read() as db:
        assert log.read_size(db) == 11


def test_a_change_that_never_succeeds_is_tried_for_ever(store: Store) -> None:
    tries = []

    def work(db: Connection) -> None:
        tries.append(1)
        run(db, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        size = log.read_size(db)
        with store.write() as other:
            run(other, "UPDATE state SET size = size + 10 WHERE id = 1")
        run(db, "UPDATE state SET size = ? WHERE id = 1", (size + 1,))

    with pytest.raises(StoreContended):
        store.change(work)
    assert 5 <= len(tries) <= 20


def test_a_read_sees_two_states(store: Store) -> None:
    with store.read() as db:
        assert log.read_size(db) == 0
        with store.write() as other:
            run(other, "UPDATE state SET size = 5 WHERE id = 1")
        assert log.read_size(db) == 0
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="read-only"):
            run(db, "UPDATE state SET size = 6 WHERE id = 1")


def shorten(monkeypatch: pytest.MonkeyPatch, bound: str, shorter: str) -> None:
    assert bound in postgres._BOUNDED
    monkeypatch.setattr(postgres, "_BOUNDED", postgres._BOUNDED.replace(bound, shorter))


def test_a_lock_that_is_held_for_long_is_waited_for_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, "lock_timeout = 5000", "lock_timeout = 100")
    with store.write() as db:
        inbox.next_number(db)
        with pytest.raises(StoreBusy, match="locked"), store.write() as other:
            inbox.next_number(other)


def test_a_transaction_that_stands_still_keeps_its_locks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, "session_timeout = 5000", "session_timeout = 100")
    with pytest.raises(StoreBusy), store.write() as db:
        inbox.next_number(db)
        time.sleep(0.5)
        with store.write() as other:
            assert inbox.next_number(other) == 1
        run(db, "SELECT 1")
    with store.write() as db:
        assert inbox.next_number(db) == 1


def test_a_setting_outlives_its_transaction(store: Store) -> None:
    """Whoever gets the connection from a pooler next would have it."""
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    with store.write() as db:
        assert run(db, "SELECT current_setting('lock_timeout')").scalar_one() == "5s"
    with store.engine.connect() as db:
        raw = db.connection.cursor()
        for name in names:
            raw.execute(f"SHOW {name}")
            assert raw.fetchone() == ("0",)
        raw.execute("SELECT COUNT(*) FROM pg_prepared_statements")
        assert raw.fetchone() == (0,)
        raw.execute("SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert raw.fetchone() == (0,)


def test_a_restarted_server_needs_restarted_clients(server: PostgresServer) -> None:
    store = begun(server.new_database())
    with store.write() as db:
        run(db, "UPDATE state SET size = 7 WHERE id = 1")
    server.restart()
    with store.read() as db:  # from a pool whose connections are all dead
        assert log.read_size(db) == 7
    server.stop()
    for _ in range(2):
        with pytest.raises(StoreBusy, match="does not answer"), store.read() as db:
            log.read_size(db)
    server.start()
    with store.write() as db:
        assert log.read_size(db) == 7
    store.close()


def test_a_server_that_ends_in_the_middle_leaves_half_a_transaction(server: PostgresServer) -> None:
    store = begun(server.new_database())
    with pytest.raises(StoreBusy), store.write() as db:
        run(db, "UPDATE state SET size = 7 WHERE id = 1")
        server.restart()
        run(db, "UPDATE state SET labels = 7 WHERE id = 1")
    with store.read() as db:
        assert log.read_size(db) == 0
    store.close()


def test_a_commit_without_an_answer_is_called_undone(server: PostgresServer) -> None:
    store = begun(server.new_database())

    @event.listens_for(store.engine, "commit")
    def end(_db: Connection) -> None:
        if server.pid == before:
            server.restart()

    before = server.pid
    with pytest.raises(OutcomeUnknown, match="not known"), store.write() as db:
        run(db, "UPDATE state SET size = 7 WHERE id = 1")
    store.close()


def test_what_was_committed_is_gone_after_a_crash_of_the_server(server: PostgresServer) -> None:
    store = begun(server.new_database())
    for size in range(1, 6):
        with store.write() as db:
            run(db, "UPDATE state SET size = ? WHERE id = 1", (size,))
        server.kill()
        server.start()
        with store.read() as db:
            assert log.read_size(db) == size
    store.close()


def test_a_server_that_may_lose_what_it_committed_is_used() -> None:
    with PostgresServer(synchronous_commit="off") as server:
        url = server.new_database()
        with pytest.raises(StoreUnusable, match="synchronous_commit = off"):
            Store.open(url, create=True)


def test_an_unreachable_server_is_waited_for_long_or_tells_the_password() -> None:
    begun = time.monotonic()
    for url in (
        "postgresql://operator:sesame-open@127.0.0.1:1/ledger",
        "postgresql://operator:sesame-open@192.0.2.1/ledger?connect_timeout=2",
        "postgres://operator:sesame-open@nowhere.invalid/ledger",
        "postgresql+psycopg://operator:sesame-open@127.0.0.1:1/ledger",
    ):
        with pytest.raises(StoreBusy) as caught:
            Store.open(url)
        assert "sesame" not in str(caught.value) + repr(caught.value)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "url", ["mysql://u:sesame-open@h/d", "postgresql+asyncpg://u:sesame-open@h/d", "sesame-open"]
)
def test_another_engine_is_tried_or_its_password_told(url: str) -> None:
    with pytest.raises(StoreUnusable, match="postgresql://USER@HOST/DATABASE") as caught:
        Store.open(url)
    assert "sesame" not in str(caught.value)


def test_a_server_that_is_no_postgresql_but_speaks_it_is_refused() -> None:
    assert postgres.version_of("PostgreSQL 18.6 on x86_64-pc-linux-gnu, compiled by gcc") == (18, 6)
    assert postgres.version_of("PostgreSQL 15.2-YB-2.21.0.0-b0 on x86_64") == (15, 2)
    assert postgres.version_of("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15)") == (13,)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Int4Array, [0, -1, 2**31 - 1, -(2**31)]),
        (Int8Array, [0, -1, 2**63 - 1, -(2**63)]),
        (ByteaArray, [b"", b"\x00\\'\"{},", bytes(range(256)), b"x" * 70_000]),
        (TextArray, ["", "a,b{}\"'\\", "é€😀", "NULL"]),
        (ByteaArray, []),
    ],
)
def test_an_array_arrives_as_something_else(
    store: Store, kind: type[bytes], values: list[int] | list[bytes] | list[str]
) -> None:
    with store.read() as db:
        assert run(db, "SELECT ?", (pack_array(kind, values),)).scalar_one() == values


@pytest.mark.parametrize("writing", [True, False])
def test_a_server_that_stands_still_is_waited_for_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch, writing: bool
) -> None:
    """As one behind a proxy whose other side is cut: TCP sees nothing wrong."""
    for name in ("ANSWER_S", "LOADING_S", "PING_S"):
        monkeypatch.setattr(postgres, name, 0.5)
    begun = time.monotonic()
    with (
        pytest.raises(StoreBusy, match="said nothing for 0.5 s"),
        store.write() if writing else store.read() as db,
    ):
        backend = run(db, "SELECT pg_backend_pid()").scalar_one()
        os.kill(backend, signal.SIGSTOP)
        try:
            log.read_size(db)
        finally:
            os.kill(backend, signal.SIGCONT)
    assert time.monotonic() - begun < 3
    with store.write() as db:
        assert log.read_size(db) == 0
