"""Whatever a file holds: no traceback, and a summary that adds up."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from fhirevents import bundle, ndjson, r4, r5
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.department.access import Fate, Summary
from ledger.department.importers.fhir import read_fhir
from ledger.department.mapping import default_mapping

NAMES = sorted(
    {*r4(), *r5(), "event", "contained", "entry", "resource", "reference", "what", "who", "coding", "query"}
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in below for deeper in paths(item, (*path, key)))]


@st.composite
def bent_events(draw: st.DrawFn) -> Any:
    """A good event with one value anywhere in it replaced by any other."""
    event = json.loads(json.dumps(draw(st.sampled_from([r4(), r5()]))))
    *way, last = draw(st.sampled_from(paths(event)[1:]))
    place = event
    for step in way:
        place = place[step]
    place[last] = draw(values)
    return event


def summary_of(data: bytes, name: str) -> Summary:
    summary = Summary()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        for outcome in read_fhir(path, default_mapping()):
            summary.count(outcome)
            assert (outcome.fate is Fate.RECORDED) == bool(outcome.accesses)
            assert bool(outcome.reason) == (outcome.fate is not Fate.RECORDED)
    assert summary.events == summary.recorded + summary.not_about_a_person + summary.rejected
    return summary


@settings(max_examples=150, deadline=None)
@given(st.lists(values | bent_events(), max_size=4), st.sampled_from([bundle, ndjson]), st.booleans())
def test_some_json_raises_or_is_not_counted(resources: list[Any], pack: Any, packed: bool) -> None:
    data = pack(*resources)
    summary = summary_of(gzip.compress(data) if packed else data, "x.ndjson" if pack is ndjson else "x.json")
    nested = any(isinstance(r, dict) and r.get("resourceType") == "Bundle" for r in resources)
    assert nested or summary.events == max(len(resources), pack is ndjson)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["x.json", "x.ndjson"]))
def test_some_bytes_raise(data: bytes, name: str) -> None:
    assert summary_of(data, name).events >= 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_cut_or_altered_bundle_raises_or_is_silent(data: st.DataObject) -> None:
    whole = bytearray(bundle(r4(), r5()))
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] = data.draw(st.integers(0, 255))
    assert summary_of(bytes(whole), "x.json").events >= 1
