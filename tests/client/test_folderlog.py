"""A folder answers from its own entries: its index is recomputed, and compared with the one that was signed."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from logfactory import NOW, LogFactory

from ledger.client.folderlog import FolderLog
from ledger.client.openlog import open_log
from ledger.client.publiclog import Unreachable
from ledger.client.register import read_register
from ledger.client.shown import make_evidence
from ledger.client.view import View
from ledger.core.entries import IndexRoot, decode_entry, record_index_label
from ledger.core.errors import BadSignature, Malformed, ProofRefuted, RuleBroken
from ledger.core.evidence import check_evidence
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.receipt import check_receipt
from ledger.core.sdjwt import present, split_sd_jwt


@pytest.fixture
def log() -> LogFactory:
    log = LogFactory()
    sources = [log.add_source(f"Department {n}") for n in range(3)]
    for n in range(300):
        log.access(sources[n % 2])
    log.seal_batch()
    log.change_source(sources[0], contact="https://example.gov/new")
    return log


def _view(log: LogFactory, folder: Path) -> View:
    return View.open(open_log(str(folder)), log.policy(), NOW)


def test_proofs_made_from_a_folder_hold(log: LogFactory, tmp_path: Path) -> None:
    view = _view(log, log.publish(tmp_path))
    stream = log.stream(log.sources[0], "nhs:9434765919", 2026)
    labels = [record_index_label(1, 2026, 0, stream.label(n)) for n in (1, 150, 151)]
    found = view.proofs(labels)
    assert [one.index for one in found] == [4, 302, None]


def test_a_receipt_made_from_a_folder_holds(log: LogFactory, tmp_path: Path) -> None:
    view = _view(log, log.publish(tmp_path))
    for index in (0, 3, 299):
        assert check_receipt(view.receipt(index), log.policy(), NOW).index == index
    with pytest.raises(Malformed, match="no receipt"):
        view.receipt(view.size - 1)


def test_receipts_of_many_labels_come_in_their_order_with_none_for_absent_ones(
    log: LogFactory, tmp_path: Path
) -> None:
    view = _view(log, log.publish(tmp_path))
    labels = [decode_entry(log.entries[index]).index_label for index in (200, 10)]
    receipts = view.receipts([label for label in labels if label is not None] + [bytes(32)])
    assert [receipt.index if receipt else None for receipt in receipts] == [200, 10, None]
    checker = view.checker()
    for receipt in receipts[:2]:
        assert receipt is not None
        assert checker.check(receipt) == check_receipt(receipt, log.policy(), NOW)


def test_receipts_of_entries_held_are_those_of_their_labels_and_one_entry_is_read_for_them(
    log: LogFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = log.publish(tmp_path)
    read: list[list[int]] = []
    entries = View.entries

    def noting(view: View, indices: Iterable[int]) -> dict[int, bytes]:
        read.append(list(indices))
        return entries(view, read[-1])

    monkeypatch.setattr(View, "entries", noting)
    held = [log.entries[index] for index in (200, 10, 299)]
    labels = [label for raw in held if (label := decode_entry(raw).index_label)]
    expected = _view(log, folder).receipts(labels)
    view = _view(log, folder)
    assert view.receipts_of(held) == expected
    read.clear()
    assert view.receipts_of(held) == expected
    assert len(read) == len(read[0]) == 1 and read[0][0] in (200, 10, 299)


def test_receipts_of_entries_held_are_had_though_nobody_can_read_the_entries(
    log: LogFactory, tmp_path: Path
) -> None:
    folder = log.publish(tmp_path)
    view = _view(log, folder)
    view.proofs([label for raw in log.entries[:256] if (label := decode_entry(raw).index_label)])
    (folder / "tile/entries/000").unlink()
    with pytest.raises(Unreachable):
        view.receipts_of(log.entries[:256])


def test_the_receipt_of_an_entry_held_is_of_the_one_that_the_log_has_under_its_label(
    log: LogFactory, tmp_path: Path
) -> None:
    view = _view(log, log.publish(tmp_path))
    logged = log.entries[10]
    another = logged[:-1] + bytes([logged[-1] ^ 1])  # in its signature, so that the label is the same
    absent = bytearray(logged)
    absent[30] ^= 1  # in its label
    receipts = view.receipts_of([another, log.entries[11], bytes(absent)])
    assert [receipt and receipt.entry for receipt in receipts] == [logged, log.entries[11], None]
    for receipt in receipts[:2]:
        assert receipt is not None and view.checker().check(receipt).receipt is receipt
    with pytest.raises(Malformed, match="no label"):
        view.receipts_of([log.entries[view.size - 1]])


def test_evidence_made_from_a_folder_holds_and_opens_what_was_chosen(log: LogFactory, tmp_path: Path) -> None:
    view = _view(log, log.publish(tmp_path))
    register = read_register(view).register
    evidence = make_evidence(
        view, register, 4, present(split_sd_jwt(log.sd_jwts[4], log.sources[0].key.public), ["actor"])
    )
    checked = check_evidence(evidence, log.policy(), NOW)
    assert list(checked.sd_jwt.claims) == ["actor"]
    assert checked.next_version == len(log.entries) - 2


def test_the_index_follows_a_folder_that_grows(log: LogFactory, tmp_path: Path) -> None:
    folder = FolderLog(log.publish(tmp_path))
    assert View.open(folder, log.policy(), NOW).proofs([bytes(32)])[0].index is None
    index = log.access(log.sources[0])
    log.publish(tmp_path)
    view = View.open(folder, log.policy(), NOW)
    label = decode_entry(log.entries[index]).index_label
    assert label is not None and view.proofs([label])[0].index == index


def test_an_index_root_that_lies_is_refuted(log: LogFactory, tmp_path: Path) -> None:
    log.seal_batch()
    true = decode_entry(log.entries.pop())
    assert isinstance(true, IndexRoot)
    false = IndexRoot(true.covers, true.log_root, bytes(32), true.labels)
    log.entries.append(false.encode())
    log._frontier = Frontier()
    log._frontier.extend(leaf_hash(raw) for raw in log.entries)
    with pytest.raises(RuleBroken, match="is not the index of its entries") as caught:
        _view(log, log.publish(tmp_path)).proofs([bytes(32)])
    assert caught.value.evidence["checkpoint"]


def test_a_bundle_with_another_entry_is_refuted_by_its_index(log: LogFactory, tmp_path: Path) -> None:
    folder = log.publish(tmp_path)
    bundle = folder / "tile/entries/000"
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(ProofRefuted, match="entry 255"):
        _view(log, folder).proofs([bytes(32)])


def test_files_that_are_not_there_or_too_long_could_not_be_checked(log: LogFactory, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no such folder"):
        open_log(str(tmp_path / "nowhere"))
    with pytest.raises(Unreachable, match="nothing is published here"):
        open_log(str(tmp_path)).checkpoint()
    folder = log.publish(tmp_path)
    (folder / "tile/0/000").write_bytes(bytes(9000))
    with pytest.raises(Malformed, match="longer than 8192"):
        _view(log, folder).proofs([bytes(32)])
    (folder / "tile/0/000").unlink()
    with pytest.raises(Unreachable, match="not whole"):
        _view(log, folder).proofs([bytes(32)])


def test_a_register_entry_that_breaks_a_rule_is_told_and_never_in_force(
    log: LogFactory, tmp_path: Path
) -> None:
    before = log.version(log.sources[1])
    index = log.change_source(log.sources[1], since="2026-06-29")
    whole = read_register(_view(log, log.publish(tmp_path)))
    assert whole.register.in_force(2) == before
    assert [fault.where for fault in whole.broken] == [f"entry {index}"]


def test_more_sources_than_one_round_asks_for_are_all_read(tmp_path: Path) -> None:
    log = LogFactory()
    for n in range(70):
        log.add_source(f"Department {n}")
    for n in range(5):
        log.change_source(log.sources[65], contact=f"https://example.gov/{n}")
    register = read_register(_view(log, log.publish(tmp_path))).register
    assert len(register.sources) == 70 and len(register.sources[66]) == 6


def test_a_charter_by_another_registrar_than_its_own_is_refuted(tmp_path: Path) -> None:
    log = LogFactory()
    charter = bytearray(log.entries[0])
    charter[-1] = ord("A") if charter[-1] != ord("A") else ord("Q")
    log.entries[0] = bytes(charter)
    log._frontier = Frontier()
    log._frontier.append(leaf_hash(log.entries[0]))
    with pytest.raises((RuleBroken, BadSignature)):
        read_register(_view(log, log.publish(tmp_path)))
