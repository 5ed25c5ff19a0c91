"""JSON Lines: one event, one JSON object, a line; plain or gzip.  What each member means the mapping says."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.core.errors import Malformed
from ledger.department.access import Fate, Outcome
from ledger.department.importers.documents import read_lines
from ledger.department.importers.fields.accesses import outcome_of
from ledger.department.importers.fields.fieldmap import FieldMapping, read_fieldmap
from ledger.department.importers.fields.jsonvalues import parse_loose
from ledger.department.importers.identity import Identities
from ledger.department.importers.source import Source
from ledger.department.strict_toml import parse_toml


def read_json_lines(source: Source, mapping: FieldMapping) -> Iterator[Outcome]:
    """Every event of one file, in order.  Raises OSError alone."""
    with Identities() as identities:
        for piece in read_lines(source):
            try:
                if piece.fault:
                    raise Malformed("", piece.fault)
                value = parse_loose(piece.data)
                if not isinstance(value, dict):
                    array = piece.data.startswith(b"[")
                    raise Malformed("", "an array; write its items one a line" if array else "no JSON object")
            except Malformed as error:
                yield Outcome(source.name, piece.position, Fate.REJECTED, error.what)
                continue
            yield outcome_of(value, mapping, source.name, piece.position, identities)


def read_jsonl_mapping(data: bytes, where: str) -> FieldMapping:
    """A mapping file for JSON Lines; Malformed names what is wrong in it."""
    return read_fieldmap(parse_toml(data, where), "jsonl", None, flat=False)
