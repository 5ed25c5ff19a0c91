"""The plan of a batch against a naive one, and what it leaves out when the register has moved on."""

from __future__ import annotations

import os
from collections.abc import Callable

import oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from smallledger import (
    CHARTER,
    DAY,
    NOW,
    ORIGIN,
    SOURCE_1,
    SOURCE_1_VERSION,
    coverage,
    record,
    source_entry,
    statement,
)

from ledger.core.entries import decode_entry
from ledger.core.errors import GlassbookError
from ledger.core.merkle import leaf_hash
from ledger.core.registry import Register
from ledger.sequencer.plan import Batch, close_batch, edge_root, edge_tiles, plan_batch
from ledger.store.acceptances import Run


def register() -> Register:
    """Charter and source 1: two registry entries."""
    found = Register(ORIGIN)
    found.add(0, CHARTER)
    found.add(2, SOURCE_1)
    return found


def plan(
    size: int,
    known: Register,
    registrations: int,
    rows: list[tuple[int, bytes, int]],
    day_count: Callable[[int, int], int] = lambda source, day: 0,
) -> Batch:
    """The batch of rows (number, entry, against how many registry entries it was checked)."""
    waiting = [(number, raw) for number, raw, _ in rows]
    runs = [Run(number, NOW, checked) for number, _, checked in rows]
    return plan_batch(ORIGIN, size, known, registrations, waiting, runs, day_count)


RECORDS = [record(day=DAY - at % 2) for at in range(12)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(range(12)), unique=True, max_size=12),
    st.integers(0, 700),
    st.integers(0, 3),
)
def test_a_batch_is_what_a_naive_sequencer_would_append(picked: list[int], size: int, claimed: int) -> None:
    rows = [(number, RECORDS[at], 2) for number, at in enumerate(picked, 1)]
    today = [raw for raw in (RECORDS[at] for at in picked) if decode_entry(raw).day == DAY]  # type: ignore[union-attr]
    right = coverage(len(today) + 5)
    wrong = coverage(len(today) + 5 + 1 + claimed, DAY)
    rows.append((90, wrong, 2))
    rows.append((91, right, 2))

    batch = plan(size, register(), 2, rows, lambda source, day: 5 if day == DAY else 0)

    expected = [RECORDS[at] for at in picked] + [right]
    assert batch.numbers == [*range(1, len(picked) + 1), 91]
    assert batch.leaves == [oracle.H(b"\x00" + raw) for raw in expected]
    labels = [decode_entry(raw).index_label or b"" for raw in expected]
    assert batch.labels == [label + (size + at).to_bytes(8, "big") for at, label in enumerate(labels)]
    spans = [(size, 1, len(picked))] if picked else []
    assert list(batch.spans()) == [*spans, (size + len(picked), 91, 1)]
    assert [row.number for row in batch.refused] == [90]
    assert batch.last == 91
    assert batch.counts().get((1, DAY), 0) == len(today)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 600), min_size=1, max_size=4))
def test_tree_and_tiles_grow_to_what_the_whole_tree_is(batches: list[int]) -> None:
    entries: list[bytes] = []
    leaves: list[bytes] = []
    tiles: dict[tuple[int, int], bytes] = {}
    edge: dict[int, bytes] = {}
    for count in batches:
        new = [os.urandom(8) for _ in range(count)]
        size = len(entries)
        close = close_batch(size, edge, [leaf_hash(raw) for raw in new], bytes(32), 0)
        entries += [*new, close.index_root]
        leaves += [leaf_hash(raw) for raw in new] + [close.leaf]
        edge = close.edge
        tiles.update({(level, n): data for level, n, data in close.tiles})
        last = decode_entry(close.index_root)
        assert last.log_root == oracle.mth(entries[:-1])  # type: ignore[union-attr]
        assert last.covers == len(entries) - 1  # type: ignore[union-attr]
        assert close.root == oracle.mth(entries)
    assert b"".join(tiles[0, n] for n in range(-(-len(leaves) // 256))) == b"".join(leaves)
    for n in range(len(leaves) // 256):
        assert tiles[1, 0][32 * n : 32 * n + 32] == oracle.mth(entries[256 * n : 256 * n + 256])
    assert {tile.level for tile in edge_tiles(len(entries))} == {
        level for level, data in edge.items() if data
    }
    assert edge_root(len(entries), edge) == oracle.mth(entries)


def refused(rows: list[tuple[int, bytes, int]], known: Register, registrations: int) -> list[str]:
    return [_rule(row.error) for row in plan(10, known, registrations, rows).refused]


def _rule(error: GlassbookError) -> str:
    return str(error.evidence.get("rule", type(error).__name__))


def test_a_row_checked_against_another_register_is_checked_again() -> None:
    known = register()
    known.add(4, source_entry(1, statement(status="revoked", revoked="2026-01-01"), SOURCE_1_VERSION))
    assert refused([(1, record(), 2)], known, 3) == ["source-revoked"]
    assert refused([(1, record(), 3)], known, 3) == [], "checked against this register"


def test_a_row_signed_by_a_key_that_was_replaced_is_left_out() -> None:
    known = register()
    stated = statement("source 1 anew")
    stated["vrf"] = statement()["vrf"]
    known.add(4, source_entry(1, stated, SOURCE_1_VERSION))
    assert refused([(1, record(), 2)], known, 3) == ["BadSignature"]


def test_a_registry_entry_is_in_force_for_the_rows_behind_it_only() -> None:
    revoked = source_entry(1, statement(status="revoked", revoked="2026-01-01"), SOURCE_1_VERSION)
    rows = [(1, record(), 2), (2, revoked, 2), (3, record(), 2)]
    known = register()
    batch = plan(10, known, 2, rows)
    assert [row.number for row in batch.refused] == [3]
    assert batch.placed == [(3, 11)]
    in_force = known.in_force(1)
    assert in_force is not None and in_force.status == "active", "the log's own register is left as it was"


def test_an_index_root_in_the_inbox_is_left_out() -> None:
    close = close_batch(0, {}, [bytes(32)], bytes(32), 0)
    assert len(refused([(1, close.index_root, 2)], register(), 2)) == 1
