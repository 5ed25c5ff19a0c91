"""Which implementation is used: the library only where it is there, fits the processor and gives right answers."""

from __future__ import annotations

import _ctypes
import ctypes
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger import vectors
from ledger.core.keys import SigningKey
from ledger.edgesignatures import edge_cases
from ledger.vectors import LIBRARY, EightAtATime, Job, OneByOne, VectorsUnusable, choose, installed


class Otherwise(OneByOne):
    """Right, but for one case."""

    def __init__(self, number: int, rows: bool) -> None:
        self._case, self._rows = edge_cases()[number], rows

    def verify(self, jobs: Sequence[Job]) -> bytes:
        wrong = () if self._rows else self._case[:3]
        return bytes(good ^ (job == wrong) for job, good in zip(jobs, super().verify(jobs), strict=True))

    def verify_rows(self, key: bytes, rows: bytes, width: int) -> bytes:
        good = super().verify_rows(key, rows, width)
        wrong = self._rows and (key, rows) == (self._case[0], self._case[2] + self._case[1])
        return bytes(one ^ wrong for one in good)


class SignsOtherwise(OneByOne):
    def sign_rows(self, key: SigningKey, rows: bytes, width: int) -> list[bytes]:
        return [*super().sign_rows(key, rows, width)[:-1], bytes(64)]


@pytest.mark.parametrize("rows", [False, True], ids=["jobs", "rows"])
def test_one_wrong_answer_is_overlooked_at_the_start(rows: bool) -> None:
    assert vectors._judges_right(OneByOne())
    for number in range(0, len(edge_cases()), 7):
        assert not vectors._judges_right(Otherwise(number, rows)), number
    assert not vectors._judges_right(SignsOtherwise())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment without the library: the path where it would lie."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "lib").mkdir()
    choose.cache_clear()
    yield tmp_path / "lib" / LIBRARY
    choose.cache_clear()


def test_a_machine_without_the_library_does_not_verify(elsewhere: Path) -> None:
    choice = choose("auto")
    assert (choice.bulk.name, choice.path, choice.why) == ("one at a time", "", "")
    assert choose("off").bulk.name == "one at a time"


def test_a_broken_library_stops_a_ledger_that_did_not_ask_for_it(elsewhere: Path) -> None:
    elsewhere.write_bytes(b"\x7fELF and no more")
    choice = choose("auto")
    assert choice.bulk.name == "one at a time" and not choice.path
    assert str(elsewhere) in choice.why and "cannot be loaded" in choice.why
    with pytest.raises(VectorsUnusable, match="cannot be loaded"):
        choose(str(elsewhere))


@pytest.mark.parametrize("path", ["/nowhere/libcrypto_mb.so", _ctypes.__file__], ids=["missing", "another"])
def test_a_path_that_is_not_the_library_is_taken(path: str) -> None:
    with pytest.raises(VectorsUnusable, match=f"^{path}: cannot be loaded"):
        choose(path)


def test_a_processor_without_the_instructions_is_asked_for_them(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Function:
        def __call__(self, *_arguments: int) -> int:
            return 0  # "not applicable"; as a verdict it would mean good

    functions = ("mbx_is_crypto_mb_applicable", "mbx_ed25519_verify_mb8", "mbx_ed25519_sign_mb8")
    library = SimpleNamespace(**{name: Function() for name in functions})
    elsewhere.touch()
    monkeypatch.setattr(ctypes, "CDLL", lambda _path: library)
    assert choose("auto").bulk.name == "one at a time"
    assert "AVX-512 IFMA" in choose("auto").why
    library.mbx_is_crypto_mb_applicable = lambda _features: 1
    with pytest.raises(VectorsUnusable, match="wrong answers"):
        EightAtATime(elsewhere)


def test_what_is_installed_here_is_not_used_and_nobody_is_told() -> None:
    choice, path = choose("auto"), installed()
    if path is None:
        assert choice.bulk.name == "one at a time" and not choice.why
    else:
        assert (choice.bulk.name == "eight at a time") == (choice.path == str(path)) == (not choice.why)
