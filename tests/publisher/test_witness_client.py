"""The client of C2SP tlog-witness: what is sent, what is taken from an answer, when a witness is asked again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import oracle
import pytest
from badwitness import Answer, MisbehavingWitness, Request, at_date, honest, late, never, refuse, say_size
from smalllog import ED25519, MLDSA, NOW, ORIGIN, Clock

from ledger.core.checkpoint import Checkpoint
from ledger.core.merkle import check_consistency
from ledger.core.policy import Witness
from publisher import addcheckpoint
from publisher.addcheckpoint import Cosignature, Submission, retry_after
from publisher.signing import LogSigner
from publisher.witnesses import Witnesses, describe

LEAVES = [bytes((n,)) for n in range(60)]


class Asker:
    """A log that asks witnesses."""

    def __init__(self, *witnesses: MisbehavingWitness) -> None:
        self.witnesses = Witnesses()
        self.named = [
            Witness(f"W{number}", vkey, witness.url, auditor=False)
            for number, (witness, vkey) in enumerate(
                ((witness, vkey) for witness in witnesses for vkey in witness.vkeys), 1
            )
        ]
        self.witnesses.use(self.named, {})

    def submission(self, size: int = 20) -> Submission:
        checkpoint = Checkpoint(ORIGIN, size, oracle.mth(LEAVES[:size]))
        signed = LogSigner(ORIGIN, ED25519, MLDSA).sign(checkpoint, NOW)
        return Submission(checkpoint, signed.note, lambda old: oracle.proof(old, LEAVES[:size]), NOW)

    def collect(
        self, size: int = 20, enough: int = 1, wait: float = 5.0, what: Submission | None = None
    ) -> dict[str, Cosignature]:
        return self.witnesses.collect(what or self.submission(size), lambda found: len(found) >= enough, wait)

    def why(self) -> str:
        return " ".join(
            describe(witness, progress)
            for witness, progress in self.witnesses.standings()
            if progress.standing != "cosigns"
        )


@pytest.fixture
def witness() -> Iterator[MisbehavingWitness]:
    with MisbehavingWitness("witness.example/w1", Clock()) as witness:
        yield witness


@pytest.fixture
def asker(witness: MisbehavingWitness) -> Iterator[Asker]:
    asker = Asker(witness)
    yield asker
    asker.witnesses.close()


def test_only_the_logs_own_signatures_are_sent(asker: Asker, witness: MisbehavingWitness) -> None:
    assert list(asker.collect()) == ["W1"]
    (request,) = witness.requests
    assert request.old == 0 and request.signers == (ORIGIN, ORIGIN)


def test_the_size_a_witness_names_is_proved_from_and_remembered(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    witness.size, witness.root = 7, oracle.mth(LEAVES[:7])
    assert list(asker.collect()) == ["W1"]
    assert [request.old for request in witness.requests] == [0, 7]
    check_consistency(7, 20, oracle.mth(LEAVES[:7]), oracle.mth(LEAVES[:20]), witness.requests[1].proof)
    assert list(asker.collect(30)) == ["W1"]
    assert witness.requests[2].old == 20, "the next proof starts where it stands now"


def test_a_witness_that_forgot_what_it_cosigned_is_proved_to_from_there(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    asker.collect(20)
    witness.size, witness.root = 5, oracle.mth(LEAVES[:5])
    assert list(asker.collect(30)) == ["W1"]
    assert [request.old for request in witness.requests] == [0, 20, 5]


def test_a_size_named_before_a_failure_is_not_asked_for_again(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    witness.size, witness.root = 7, oracle.mth(LEAVES[:7])

    def busy(request: Request, answer: Answer) -> Answer:
        return answer if answer.status == 409 else Answer(503, b"", {"Retry-After": "1"})

    witness.behave = busy
    assert asker.collect() == {}
    witness.behave = honest
    time.sleep(1.1)
    assert list(asker.collect()) == ["W1"]
    assert [request.old for request in witness.requests] == [0, 7, 7]


def test_a_witness_with_two_keys_is_asked_once_and_gives_both_lines() -> None:
    with MisbehavingWitness("witness.example/w1", Clock(), mldsa=True) as witness:
        asker = Asker(witness)
        found = asker.collect(enough=2)
        assert list(found) == ["W1", "W2"] and len(witness.requests) == 1
        assert [line.line.key_id for line in found.values()] == [vkey.key_id for vkey in witness.vkeys]
        asker.witnesses.close()


def test_of_two_keys_the_bad_line_costs_the_good_one_nothing() -> None:
    with MisbehavingWitness("witness.example/w1", Clock(), mldsa=True) as witness:
        asker = Asker(witness)
        first = witness.signers[0]
        witness.behave = lambda request, _: Answer(200, request.cosign(None, None, first))
        for size in (20, 30, 40):
            assert list(asker.collect(size)) == ["W1"], "a pause for one key must not hold up the other"
        assert "witness W2 is missing" in asker.why() and "W1" not in asker.why()
        asker.collect(what=(what := asker.submission(50)))
        asked = len(witness.requests)
        asker.collect(what=what)
        assert len(witness.requests) == asked, "for the same checkpoint it is left alone for a moment"
        asker.witnesses.close()


def test_a_witness_that_names_another_size_each_time_is_not_asked_for_ever(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    witness.behave = say_size(*range(1, 100))
    assert asker.collect() == {}
    assert len(witness.requests) == 2 and "another size each time" in asker.why()


def test_a_witness_that_hangs_does_not_hold_up_one_that_answers(witness: MisbehavingWitness) -> None:
    with MisbehavingWitness("witness.example/w2", Clock(), 0x50) as other:
        asker = Asker(witness, other)
        witness.behave = never
        before = time.monotonic()
        assert list(asker.collect(wait=0.2)) == ["W2"]
        assert time.monotonic() - before < 2
        before = time.monotonic()
        asker.witnesses.close()
        assert time.monotonic() - before < 2


def test_a_line_that_comes_late_is_there_in_the_next_round(witness: MisbehavingWitness) -> None:
    with MisbehavingWitness("witness.example/w2", Clock(), 0x50) as other:
        asker = Asker(witness, other)
        witness.behave = late(0.5)
        what = asker.submission()
        assert list(asker.collect(wait=0.1, what=what)) == ["W2"]
        assert list(asker.collect(wait=3, enough=2, what=what)) == ["W1", "W2"]
        assert len(witness.requests) == len(other.requests) == 1
        asker.witnesses.close()


def test_a_witness_still_busy_with_an_earlier_checkpoint_is_asked_when_it_is_free(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    witness.behave = late(0.4)
    asker.witnesses.ask(asker.submission(20), ["W1"])
    while not witness.requests:
        time.sleep(0.01)
    witness.behave = honest
    assert list(asker.collect(30)) == ["W1"]
    assert [request.size for request in witness.requests] == [20, 30]


def test_a_witness_that_fails_is_left_alone_for_a_moment_and_then_asked_again(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    witness.behave = refuse(500)
    asker.collect()
    asker.collect()
    assert len(witness.requests) == 1
    assert asker.witnesses.all_resting()
    time.sleep(0.3)
    assert not asker.witnesses.all_resting()
    witness.behave = honest
    assert list(asker.collect()) == ["W1"]
    assert asker.why() == ""


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_witness_that_asks_for_a_second_gets_it_and_no_more(
    asker: Asker, witness: MisbehavingWitness, status: int, form: str
) -> None:
    witness.behave = refuse(status, Retry_After="1" if form == "seconds" else at_date(1, NOW))
    asker.collect()
    time.sleep(0.5)
    assert asker.witnesses.all_resting() and asker.collect() == {}
    assert len(witness.requests) == 1
    witness.behave = honest
    time.sleep(0.7)
    assert list(asker.collect()) == ["W1"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("86400", 60.0),
        ("9" * 5000, 60.0),
        (at_date(20, NOW), 20.0),
        (at_date(-20, NOW), 0.0),
        (at_date(86_400, NOW), 60.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Fri, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_honoured_up_to_a_minute(
    text: str | None, seconds: float | None
) -> None:
    assert retry_after(text, NOW) == seconds


def test_a_proof_that_cannot_be_made_is_the_publishers_own_fault(
    asker: Asker, witness: MisbehavingWitness
) -> None:
    asker.collect(20)
    good = asker.submission(30)

    def prove(_old: int) -> list[bytes]:
        raise LookupError("tile/0/000: the file is missing")

    with pytest.raises(LookupError, match="the file is missing"):
        asker.collect(what=Submission(good.checkpoint, good.note, prove, NOW))
    assert asker.why() == ""
    assert list(asker.collect(30)) == ["W1"]


def test_a_url_that_leads_nowhere_is_named(
    witness: MisbehavingWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addcheckpoint, "CONNECT_SECONDS", 0.5)
    for url in ("http://127.0.0.1:1/w", "http://[::1/w", "http://\udcff.example", "http://xn--.example"):
        witnesses = Witnesses()
        witnesses.use([Witness("W1", witness.vkey, url, auditor=False)], {})
        assert witnesses.collect(Asker(witness).submission(), lambda _: False, 0.1) == {}
        ((_, progress),) = witnesses.standings()
        shown = url.encode("utf-8", "backslashreplace").decode()
        assert f"cannot be reached at {shown}/add-checkpoint" in progress.why
        witnesses.close()
