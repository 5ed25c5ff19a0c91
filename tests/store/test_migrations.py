"""A database of any earlier release is taken over as it is, and becomes what a new one is."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from engines import ENGINES, new_url
from smallledger import DAY, SmallLedger, coverage, record
from sqlalchemy import BigInteger, Column, MetaData, Table

import ledger.store.migrations
from ledger.core.index import EMPTY
from ledger.core.merkle import EMPTY_ROOT, leaf_hash
from ledger.service.placing import Accepted, Duplicate
from ledger.store import (
    Store,
    StoreUnusable,
    acceptances,
    envelopes,
    keyruns,
    keys,
    labels,
    log,
    postgres,
    recents,
    schema,
    settling,
    sqlite,
)
from ledger.store.buckets import PAGE
from ledger.store.engine import parse_url, run, run_many
from ledger.store.keyruns import KeyRun
from ledger.store.migrations import buckets18
from ledger.store.statements import insert_rows

HERE = Path(__file__).parent
FIRST = (
    "INSERT INTO state VALUES (1, 1, 7, ?, 3, ?, 2, 7)",
    "INSERT INTO deposits VALUES (1, 9)",
    "INSERT INTO publication VALUES (1, 0, ?, 0, ?, 0)",
    "INSERT INTO entries VALUES (0, 5, 1, ?)",
)
# What the second release made of a database of the first.
SECOND = (
    "CREATE TABLE acceptances (first BIGINT NOT NULL PRIMARY KEY, accepted BIGINT NOT NULL)",
    """CREATE TABLE witnesses (vkey TEXT NOT NULL PRIMARY KEY, confirmed BIGINT NOT NULL, cosigned BIGINT NOT NULL,
    standing TEXT NOT NULL, since BIGINT NOT NULL, why TEXT NOT NULL)""",
    "INSERT INTO acceptances VALUES (0, 1234)",
    "UPDATE state SET schema_version = 2",
)


def make(engine: str, folder: Path, version: int) -> str:
    """A database as release `version` left it; its URL."""
    url = new_url(engine, folder)
    parsed = parse_url(url)
    db_engine = sqlite.make_engine(parsed) if engine == "sqlite" else postgres.make_engine(parsed)
    store = Store(db_engine)
    lines = (HERE / f"schema1-{engine}.sql").read_text().splitlines()[1:]
    second = [sql.replace("BIGINT NOT NULL PRIMARY", "INTEGER NOT NULL PRIMARY") for sql in SECOND]
    with store.write() as db:
        for sql in lines:
            run(db, sql)
        for sql in FIRST:
            run(db, sql, [b"r" * 32] * sql.count("?"))
        if version == 2:
            for sql in SECOND if engine == "postgresql" else second:
                run(db, sql)
    store.close()
    return url


def layout(store: Store) -> dict[str, Any]:
    """Columns with type and nullability, keys and indexes, by table, as the database itself states them."""
    look = sqlalchemy.inspect(store.engine)
    return {
        table: (
            {(c["name"], str(c["type"]), c["nullable"]) for c in look.get_columns(table)},
            look.get_pk_constraint(table)["constrained_columns"],
            {tuple(index["column_names"]) for index in look.get_indexes(table)},
            {tuple(unique["column_names"]) for unique in look.get_unique_constraints(table)},
        )
        for table in look.get_table_names()
    }


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_older_database_becomes_another_than_a_new_one(engine: str, version: int, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = Store.open(new_url(engine, tmp_path / "new"), create=True)
    old = Store.open(make(engine, tmp_path, version))
    assert layout(old) == layout(new)
    for store in (old, new):
        with store.engine.connect() as db:
            options = {
                "compare_type": engine == "postgresql"
            }  # SQLite has one integer, whatever it is called
            assert compare_metadata(MigrationContext.configure(db, opts=options), schema.metadata) == []
            assert run(db, "SELECT version_num FROM alembic_version").scalar_one() == str(
                schema.SCHEMA_VERSION
            )
        store.close()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_older_database_held_is_lost(engine: str, version: int, tmp_path: Path) -> None:
    url = make(engine, tmp_path, version)
    for _ in range(2):
        store = Store.open(url)
        with store.read() as db:
            state = run(db, "SELECT * FROM state").one()
            assert tuple(state[:3]) == (1, schema.SCHEMA_VERSION, 7)
            assert run(db, "SELECT entry FROM entries").scalar_one() == b"r" * 32
            (time,) = acceptances.times_of(db, [5]).values()
            assert (time == 1234) is (version == 2) and time > 0
        store.close()


def pairs(data: bytes) -> list[tuple[int, int]]:
    """Keys and numbers out of rows of a chunk."""
    return [(a << 32 | b, c << 32 | d) for a, b, c, d in Struct(">HIHI").iter_unpack(data)]


def as_schema_6(store: Store) -> None:
    """A log's database as the sixth schema has it."""
    with store.write() as db:
        buckets18.metadata.create_all(db)
        buckets: dict[int, bytes] = {}
        for part, data in labels.read_some_parts(db, 0, 1 << 20):
            buckets[part >> 2] = buckets.get(part >> 2, b"") + data
        buckets18.write_buckets(db, buckets.items())
        run(db, "DROP TABLE label_parts")
        for page, data in run(db, "SELECT page, data FROM index_pages").all():
            hashes, counts = bytes(data)[: 32 * PAGE], bytes(data)[32 * PAGE :]
            mixed = b"".join(
                hashes[32 * at : 32 * at + 32] + counts[4 * at : 4 * at + 4] for at in range(PAGE)
            )
            run(db, "UPDATE index_pages SET data = ? WHERE page = ?", (mixed, page))
        for change in ("state SET schema_version = 6", "alembic_version SET version_num = '6'"):
            run(db, f"UPDATE {change}")


def as_schema_5(store: Store) -> None:
    """A log's database as the fifth schema has it, with what keys have settled."""
    as_schema_6(store)
    with store.write() as db:
        for kind in ("leaf", "fetch"):
            rowless = " WITHOUT ROWID" if store.engine.dialect.name == "sqlite" else ""
            columns = "key BIGINT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (key, number)"
            run(db, f"CREATE TABLE {kind}_keys ({columns}){rowless}")
            data = b"".join(map(bytes, run(db, f"SELECT data FROM {kind}_chunks").scalars()))
            run_many(db, f"INSERT INTO {kind}_keys VALUES (?, ?)", pairs(data))
            run(db, f"DROP TABLE {kind}_chunks")
        for change in ("state SET schema_version = 5", "alembic_version SET version_num = '5'"):
            run(db, f"UPDATE {change}")


def as_schema_4(store: Store) -> None:
    """A log's database as the fourth schema has it, with some labels that have settled and some that have not."""
    as_schema_5(store)
    recent = ["recent_leaf_keys", "recent_fetch_keys"]
    label = "BLOB" if store.engine.dialect.name == "sqlite" else "BYTEA"
    with store.write() as db:
        run(db, f"CREATE TABLE recent_labels (label {label} NOT NULL PRIMARY KEY, number BIGINT NOT NULL)")
        for table in recent:
            run(db, f"CREATE TABLE {table} (key BIGINT, number BIGINT, PRIMARY KEY (key, number))")
        for found, number in recents.unsettled(db, 1 << 60):
            run(db, "INSERT INTO recent_labels VALUES (?, ?)", (found, number))
        marks = recents.read_marks(db)[16:]
        for table, column in zip(recent, ("leaves", "fetches"), strict=True):
            for first, data in recents.read_keys(db, column):
                for at in range(0, len(data), 6):
                    key, number = int.from_bytes(data[at : at + 6], "big"), first + at // 6
                    if number > marks[data[at] >> 4]:
                        run(db, f"INSERT INTO {table} VALUES (?, ?)", (key, number))
        for table in ("recents", "settled"):
            run(db, f"DROP TABLE {table}")
        for change in ("state SET schema_version = 4", "alembic_version SET version_num = '4'"):
            run(db, f"UPDATE {change}")


@pytest.mark.parametrize("waiting", [0, 7])
@pytest.mark.parametrize("engine", ENGINES)
def test_what_had_not_settled_is_lost_when_it_is_packed(
    engine: str, waiting: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RECENT", 50)
    ledger = SmallLedger(tmp_path, new_url(engine, tmp_path))
    raws = [record() for _ in range(80)] + [coverage(80)]
    ledger.accept(raws[:30])
    ledger.sequencer.step()
    ledger.accept(raws[30:])
    while ledger.sequencer.step() is not None or ledger.sequencer.settle():
        pass
    later = [record(day=DAY - 1) for _ in range(waiting)]
    ledger.accept(later)
    with ledger.store.read() as db:
        marks = recents.read_marks(db)
        assert 0 < marks.count(0) < 32, "some have settled and some have not"
    as_schema_4(ledger.store)
    ledger.reopen()
    outcomes = ledger.accept([*raws, *later])
    assert [type(outcome) for outcome in outcomes] == [Duplicate] * len(raws) + [Accepted] * len(later)
    with ledger.store.read() as db:
        for raw in [*raws, *later]:
            leaf = leaf_hash(raw)
            (number,) = keys.find_numbers(db, keys.LEAF, [leaf])[keys.short_key(leaf)]
            assert log.read_numbered(db, [number]) == {number: raw}
        for (fetch,) in run(db, 'SELECT "fetch" FROM envelopes').all():
            assert envelopes.find_envelopes(db, [bytes(fetch)]) != [None]
    while ledger.sequencer.step() is not None or ledger.sequencer.settle():
        pass
    assert ledger.violations() == []
    assert isinstance(ledger.accept(later + raws[:1])[-1], Duplicate)
    ledger.close()


@pytest.mark.parametrize("count", [0, 1, 263_000])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_key_is_lost_when_they_are_put_into_chunks(engine: str, count: int, tmp_path: Path) -> None:
    """Among many, more of them alike than are moved at a time; and they go on settling."""
    url = new_url(engine, tmp_path)
    store = Store.open(url, create=True)
    known = [b"\x77" * 32] * min(count, 25_000) + [os.urandom(32) for _ in range(count - 25_000)]
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))
        run(db, "UPDATE settled SET last = ?", (count,))
    as_schema_5(store)
    numbers = [(keys.short_key(digest), number) for number, digest in enumerate(known, 1)]
    with store.write() as db:
        for name in ("leaf_keys", "fetch_keys"):
            columns = Column("key", BigInteger), Column("number", BigInteger)
            insert_rows(db, Table(name, MetaData(), *columns), numbers)
    store.close()
    store = Store.open(url)
    later = [os.urandom(32) for _ in range(50)]
    for first in range(count + 1, count + 1 + 30 * 50, 50):
        with store.write() as db:
            recents.add(db, first, later, later, list(later))
            run_of_keys = KeyRun(db, first + 49)
            run_of_keys.write(db)
            while not run_of_keys.written():
                run_of_keys.write(db)
    with store.read() as db:
        for kind in (keys.LEAF, keys.FETCH):
            asked = random.sample(known, min(count, 2000)) + [b"\x77" * 32, later[7]]
            found = keys.find_numbers(db, kind, asked)
            assert found.pop(keys.short_key(later[7])) == [*range(count + 8, count + 1 + 30 * 50, 50)]
            alike = found.pop(keys.short_key(b"\x77" * 32), [])
            assert alike == [*range(1, 1 + min(count, 25_000))]
            wanted = {keys.short_key(digest) for digest in asked[:-2] if digest != b"\x77" * 32}
            assert {(key, number) for key in found for number in found[key]} == {
                (key, number) for key, number in numbers if key in wanted
            }
            held = run(db, f"SELECT chunk, LENGTH(data) FROM {kind.settled.name}").all()
            assert sum(size for _, size in held) == 12 * (count + 30 * 50)
            assert all(size <= 12 * keyruns.MOST for chunk, size in held if keys.level_of(chunk) < 10)
    store.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_two_that_open_an_older_database_at_once_are_in_each_others_way(engine: str, tmp_path: Path) -> None:
    url = make(engine, tmp_path, 1)
    failed: list[BaseException] = []

    def opened() -> None:
        try:
            Store.open(url).close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=opened) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    store = Store.open(url)
    with store.read() as db:
        assert run(db, "SELECT COUNT(*) FROM acceptances").scalar_one() == 1
    store.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_one_that_starts_while_a_large_database_is_brought_up_to_date_gives_up(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes minutes then takes a second here, and who is patient with nobody gives up in a third of that."""
    for module, name in ((sqlite, "BUSY_TIMEOUT_S"), (postgres, "ANSWER_S")):
        monkeypatch.setattr(module, name, 0.3)
    url = make(engine, tmp_path, 1)
    held, found = threading.Event(), []
    migrate = ledger.store.migrations.migrate

    def slowly(db: sqlalchemy.Connection) -> None:
        held.set()
        time.sleep(1.0)
        migrate(db)

    monkeypatch.setattr(ledger.store.migrations, "migrate", slowly)

    def opened() -> None:
        begun = time.monotonic()
        store = Store.open(url)
        found.append(time.monotonic() - begun)
        store.close()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(opened)
        assert held.wait(30)
        second = pool.submit(opened)
        first.result()
        second.result()
    assert len(found) == 2 and min(found) > 0.6, "both waited until it was done"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_newer_database_is_used(engine: str, tmp_path: Path) -> None:
    url = make(engine, tmp_path, 2)
    store = Store.open(url)
    with store.write() as db:
        run(db, "UPDATE state SET schema_version = ?", (schema.SCHEMA_VERSION + 1,))
    store.close()
    with pytest.raises(StoreUnusable, match=f"schema {schema.SCHEMA_VERSION + 1}.*install a newer"):
        Store.open(url)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_log_is_begun_where_something_else_is_kept(engine: str, tmp_path: Path) -> None:
    url = make(engine, tmp_path, 2)
    with pytest.raises(StoreUnusable, match="in use by something else"):
        Store.open(url, create=True)
    Store.open(url).close()
    with pytest.raises(StoreUnusable, match="holds a log already"):
        Store.open(url, create=True)


def test_revisions_leave_a_gap_or_end_elsewhere() -> None:
    scripts = ScriptDirectory(str(Path(ledger.store.migrations.__file__).parent))
    found = [revision.revision for revision in scripts.walk_revisions()]
    assert found == [str(version) for version in range(schema.SCHEMA_VERSION, 0, -1)]
