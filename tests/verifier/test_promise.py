"""`glassbook-verify promise`: kept, late, open or broken, under one checkpoint, and shown to whoever asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory, seed
from ran import Run

from ledger.core.encoding import b64encode
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.promise import Promise, sign_promise
from verifier_cli import commandline

DELAY = 86_400
COMMON = ("--policy", "policy.txt", "--log", "public")


class Promising:
    """A log whose ledger promised one entry of it, `logged`, and one that it kept out, `withheld`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.log = LogFactory(merge_delay_s=DELAY)
        source = self.log.add_source()
        self.logged = self.log.entries[self.log.access(source)]
        elsewhere = LogFactory(merge_delay_s=DELAY)
        other = elsewhere.add_source()
        for _ in range(5):
            self.withheld = elsewhere.entries[elsewhere.access(other)]
        (folder / "policy.txt").write_text(self.log.policy_text())

    def promise(self, raw: bytes, key: Ed25519PrivateKey | None = None, **changed: Any) -> None:
        """Write the promise for an entry, accepted NOW, and the entry beside it."""
        fields: dict[str, Any] = {
            "origin": self.log.origin,
            "leaf": leaf_hash(raw),
            "accepted": NOW,
        } | changed
        (self.folder / "a.promise").write_bytes(sign_promise(Promise(**fields), key or self.log.ledger_key))
        (self.folder / "a.entry").write_bytes(raw)

    def publish(self, at: int) -> None:
        """Publish under witnesses of that time, which is now."""
        self.log.publish(self.folder / "public", at)
        self._monkeypatch.setattr(commandline, "clock", lambda: at)

    def evidence(self) -> Path:
        (path,) = self.folder.glob("broken-promise-*.json")
        return path


@pytest.fixture
def made(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Promising:
    return Promising(tmp_path, monkeypatch)


HOW = pytest.mark.parametrize("how", [("--entry", "a.entry"), ()], ids=["by the index", "by all leaves"])


@HOW
def test_in_the_log_in_time_is_kept(made: Promising, run: Run, how: tuple[str, ...]) -> None:
    made.promise(made.logged)
    made.publish(NOW + DELAY)
    ran = run("promise", "a.promise", *COMMON, *how)
    assert (ran.exit, "HOLDS: the promise was kept: entry 2 was seen in the log at" in ran.out) == (0, True)


@HOW
def test_in_the_log_of_a_later_time_is_undecided_until_an_earlier_checkpoint_is_shown(
    made: Promising, run: Run, how: tuple[str, ...]
) -> None:
    made.promise(made.logged)
    made.publish(NOW + DELAY)
    (made.folder / "saved").write_bytes((made.folder / "public" / "checkpoint").read_bytes())
    made.log.access(made.log.sources[0])
    made.publish(NOW + DELAY + 1)
    ran = run("promise", "a.promise", *COMMON, *how)
    assert ran.exit == 3
    assert "UNDECIDED: published, whether in time is not shown" in ran.err
    assert run("promise", "a.promise", *COMMON, "--checkpoint", "saved").exit == 0


@HOW
def test_not_in_the_log_and_still_in_time_is_open(made: Promising, run: Run, how: tuple[str, ...]) -> None:
    made.promise(made.withheld)
    made.publish(NOW + DELAY)
    ran = run("promise", "a.promise", *COMMON, *how, "--json")
    assert (ran.exit, ran.json["verdict"], ran.json["result"]["judgement"]) == (3, "undecided", "open")
    assert not list(made.folder.glob("*.json"))


def test_not_in_the_log_after_its_time_is_broken_and_the_file_shows_it_offline(
    made: Promising, run: Run
) -> None:
    made.promise(made.withheld)
    made.publish(NOW + DELAY + 1)
    ran = run("promise", "a.promise", *COMMON, "--entry", "a.entry")
    assert (ran.exit, "REFUTED: the promise was broken" in ran.err) == (1, True)
    assert made.evidence().name in ran.err
    told = run("promise", made.evidence(), "--policy", "policy.txt")
    assert (told.exit, "REFUTED: the promise was broken" in told.err) == (1, True)


def test_without_the_entry_all_leaves_are_looked_at_again_by_whoever_checks(
    made: Promising, run: Run
) -> None:
    for _ in range(600):  # more than two tiles
        made.log.coverage(made.log.sources[0], DAY, 0)
    made.promise(made.withheld)
    made.publish(NOW + DELAY + 1)
    ran = run("promise", "a.promise", *COMMON)
    assert (ran.exit, "None of the log's 604 leaf hashes" in ran.out) == (1, True)
    told = run("promise", made.evidence(), "--policy", "policy.txt")
    assert (told.exit, "--log" in told.err) == (3, True)
    assert run("promise", made.evidence(), *COMMON).exit == 1
    # The log goes on, and even takes the entry in: under that checkpoint it was broken all the same.
    made.log.append(made.withheld)
    made.publish(NOW + DELAY + 60)
    assert run("promise", made.evidence(), *COMMON).exit == 1
    assert run("promise", "a.promise", *COMMON).exit == 3, "published late, and no longer shown as broken"
    made.promise(made.withheld, accepted=NOW + DELAY + 50)
    assert run("promise", "a.promise", *COMMON).exit == 0


def test_another_entry_under_the_label_breaks_the_promise_too(made: Promising, run: Run) -> None:
    """The same stream and number, signed by the same source: only one of the two can be in the log."""
    twin = LogFactory(merge_delay_s=DELAY)
    raw = twin.entries[twin.access(twin.add_source())]
    assert raw != made.logged and raw[50:82] != made.logged[50:82]
    made.promise(raw)
    made.publish(NOW + DELAY + 1)
    ran = run("promise", "a.promise", *COMMON, "--entry", "a.entry")
    assert (ran.exit, "another entry under the label, entry 2" in ran.out) == (1, True)
    assert run("promise", made.evidence(), "--policy", "policy.txt").exit == 1


def test_without_a_witness_nobody_dates_the_checkpoint(made: Promising, run: Run) -> None:
    lines = made.log.policy_text().replace(" W1\n", "\n").splitlines()
    kept = [line for line in lines if not line.startswith("witness W1")]
    (made.folder / "policy.txt").write_text("\n".join(kept) + "\n")
    made.promise(made.withheld)
    made.publish(NOW + 10 * DELAY)
    ran = run("promise", "a.promise", *COMMON)
    assert (ran.exit, "no witness but the log dates" in ran.err) == (3, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"key": Ed25519PrivateKey.from_seed(seed("nobody"))},
        {"origin": "log.example.gov/other"},
    ],
    ids=["another key", "another log"],
)
def test_what_the_ledger_did_not_sign_shows_nothing_and_refutes_nobody(
    made: Promising, run: Run, changed: dict[str, Any]
) -> None:
    made.promise(made.withheld, **changed)
    made.publish(NOW + 10 * DELAY)
    ran = run("promise", "a.promise", *COMMON)
    assert (ran.exit, "no promise by this log's ledger" in ran.err) == (3, True)
    assert not list(made.folder.glob("*.json"))


@pytest.mark.parametrize("junk", [b"", b"not a promise", b"a.b.c", b"\xff\xfe", b"{", b"[]"])
def test_a_file_of_something_else_is_said_to_be_one(made: Promising, run: Run, junk: bytes) -> None:
    made.publish(NOW)
    (made.folder / "a.promise").write_bytes(junk)
    assert run("promise", "a.promise", *COMMON).exit == 3


def test_the_entry_of_another_promise_is_refused(made: Promising, run: Run) -> None:
    made.promise(made.withheld)
    (made.folder / "a.entry").write_bytes(made.logged)
    made.publish(NOW + DELAY + 1)
    ran = run("promise", "a.promise", *COMMON, "--entry", "a.entry")
    assert (ran.exit, "is not the one that was promised" in ran.err) == (3, True)
    (made.folder / "a.entry").write_bytes(b"junk")
    assert run("promise", "a.promise", *COMMON, "--entry", "a.entry").exit == 3


def test_a_mirror_that_hides_the_leaf_breaks_no_promise(made: Promising, run: Run) -> None:
    made.promise(made.logged)
    made.publish(NOW + DELAY + 1)
    (tile,) = (made.folder / "public" / "tile" / "0").glob("000.p/*")
    data = tile.read_bytes()
    tile.write_bytes(data.replace(leaf_hash(made.logged), bytes(32)))
    ran = run("promise", "a.promise", *COMMON)
    assert ran.exit == 1
    assert "do not fold to the root" in ran.err and "broken" not in ran.err


def test_a_promise_without_a_log_is_wrong_usage(made: Promising, run: Run) -> None:
    made.promise(made.logged)
    assert run("promise", "a.promise", "--policy", "policy.txt").exit == 2
    words = ("--entry", "a.entry", "--checkpoint", "saved")
    assert run("promise", "a.promise", *COMMON, *words).exit == 2
    assert run("promise", "nowhere.promise", *COMMON).exit == 3


# -- evidence that was tampered with ------------------------------------------------------------------------


def _other_promise(value: dict[str, Any], made: Promising) -> None:
    made.promise(made.logged)
    value["promise"] = (made.folder / "a.promise").read_text()


def _own_promise(value: dict[str, Any], made: Promising) -> None:
    made.promise(made.withheld, key=Ed25519PrivateKey.from_seed(seed("nobody")))
    value["promise"] = (made.folder / "a.promise").read_text()


def _early_note(value: dict[str, Any], made: Promising) -> None:
    size, root = made.log.size, made.log._frontier.root()
    text, _, _ = value["charter"]["proof"].partition(f"{made.log.origin}\n")
    value["charter"]["proof"] = text + made.log.sign(size, root, NOW).decode()


def _own_note(value: dict[str, Any], made: Promising) -> None:
    value["charter"]["proof"] = value["charter"]["proof"].replace("\u2014 witness", "\u2014 nobody")


def _other_charter(value: dict[str, Any], made: Promising) -> None:
    value["charter"]["entry"] = b64encode(LogFactory(merge_delay_s=1).entries[0])


def _other_proof(value: dict[str, Any], made: Promising) -> None:
    value["absence"]["index_proof"] = b64encode(bytes(2))


def _logged_entry(value: dict[str, Any], made: Promising) -> None:
    value["absence"]["entry"] = b64encode(made.logged)


def _no_member(value: dict[str, Any], made: Promising) -> None:
    del value["absence"]["other"]


@pytest.mark.parametrize(
    "change",
    [_other_promise, _own_promise, _early_note, _own_note, _other_charter, _other_proof, _logged_entry, _no_member],
)  # fmt: skip
def test_evidence_that_was_tampered_with_refutes_nobody(
    made: Promising, run: Run, change: Callable[[dict[str, Any], Promising], None]
) -> None:
    made.promise(made.withheld)
    made.publish(NOW + DELAY + 1)
    assert run("promise", "a.promise", *COMMON, "--entry", "a.entry").exit == 1
    value = json.loads(made.evidence().read_text())
    change(value, made)
    (made.folder / "tampered.json").write_text(json.dumps(value))
    ran = run("promise", "tampered.json", "--policy", "policy.txt")
    assert ran.exit == 3, ran.out + ran.err
