"""aics-tlog (PyPI, Python) as a program: checkpoint with its witness's quorum, inclusion and growth, over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign
from publishedlog import PublishedLog


def say(log: PublishedLog, command: str, *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and the one object that it prints."""
    keys = ["--log-key", log.log_vkeys[0], "--origin", log.settings.origin, "--max-age", "600"]
    witnesses = [word for vkey in log.witness_vkeys for word in ("--witness-key", vkey)]
    quorum = ["--quorum", str(len(log.witness_vkeys))]
    done = foreign.run_module("aics_tlog", command, *keys, *witnesses, *quorum, *words)
    return done.returncode, json.loads(done.stdout)


def test_it_refuses_the_checkpoint_or_its_witness(published: PublishedLog) -> None:
    code, said = say(published, "verify-checkpoint", "--tiles", published.url)
    assert code == 0, said
    assert said["size"] == published.checkpoint().size


def test_it_refuses_an_entry(published: PublishedLog, tmp_path: Path) -> None:
    size = published.checkpoint().size
    for index in (0, 255, 256, size - 1):
        out = tmp_path / str(index)
        code, said = say(
            published, "verify-inclusion", "--tiles", published.url, "--index", str(index), "--entry-out", out
        )
        assert code == 0, said
        assert out.read_bytes()[0] == 1  # the format version


def test_it_refuses_that_the_log_only_grew(published: PublishedLog, tmp_path: Path) -> None:
    for note in published.notes[:-1]:
        old = tmp_path / "old"
        old.write_bytes(note)
        code, said = say(published, "verify-consistency", "--tiles", published.url, "--old-checkpoint", old)
        assert code == 0, said


def test_it_checks_nothing(published: PublishedLog, broken: Path) -> None:
    first = published.checkpoint().size // 256 * 256
    code, said = say(published, "verify-inclusion", "--tiles", broken, "--index", str(first))
    assert code == 1, said
    code, said = say(published, "verify-checkpoint", "--tiles", published.url, "--quorum", "3")
    assert code == 1, said
