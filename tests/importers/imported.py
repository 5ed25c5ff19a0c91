"""A file made of bytes, read by one of the formats with a mapping file made of text."""

from pathlib import Path

from ledger.department.access import Fate, Outcome, Summary
from ledger.department.importers.files import read_path
from ledger.department.importers.formats import FORMATS

SAMPLES = Path(__file__).parents[2] / "samples"


def read_file(path: Path, format_: str, map_: str | bytes | None) -> list[Outcome]:
    """The outcomes of one file, with the mapping file's text, or what holds without one."""
    form = FORMATS[format_]
    if map_ is None:
        assert form.default is not None
        mapping = form.default()
    else:
        mapping = form.read_mapping(map_.encode() if isinstance(map_, str) else map_, "map.toml")
    return list(read_path(path, lambda source: form.read(source, mapping)))


def read_bytes(folder: Path, data: bytes, format_: str, map_: str | None, name: str = "log") -> list[Outcome]:
    path = folder / name
    path.write_bytes(data)
    return read_file(path, format_, map_)


def fates(found: list[Outcome]) -> list[tuple[str, str, str]]:
    """Place, fate and reason of each; of the recorded ones the subjects."""
    return [
        (o.position, o.fate.value, o.reason or " ".join(access.subject for access in o.accesses))
        for o in found
    ]


def counted(found: list[Outcome]) -> Summary:
    """The summary, whose counts add up and whose outcomes are whole."""
    summary = Summary()
    for outcome in found:
        summary.count(outcome)
        assert (outcome.fate is Fate.RECORDED) == bool(outcome.accesses)
        assert bool(outcome.reason) == (outcome.fate is not Fate.RECORDED)
        assert len(outcome.identity) == (32 if outcome.accesses else 0)
    assert summary.events == summary.recorded + summary.not_about_a_person + summary.rejected
    return summary
