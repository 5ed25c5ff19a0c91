"""CSV as it comes: encodings, line ends, quoted line ends and every kind of broken row, each alone."""

import gzip
from pathlib import Path

import pytest
from imported import counted, fates, read_bytes, read_file

from ledger.core.errors import Malformed
from ledger.department.importers import csvfile
from ledger.department.importers.csvfile import inspect_csv, read_csv_mapping
from ledger.department.importers.source import Source

PLAIN = """
[time]
from = "when"
[subject]
from = "who"
scheme = "id"
[activity]
default = 1
[actor]
id = "by"
[reason]
text = "why"
"""
MAP = 'format = "csv"\n' + PLAIN
HEAD = "when,who,by,why\n"
GOOD = "2026-02-28T10:03:00Z,p{},clerk,because\n"


def with_csv(lines: str) -> str:
    return f'format = "csv"\n[csv]\n{lines}\n' + PLAIN


def subjects(folder: Path, data: bytes, map_: str = MAP, name: str = "log.csv") -> list[str]:
    found = read_bytes(folder, data, "csv", map_, name)
    counted(found)
    return [access.subject for outcome in found for access in outcome.accesses]


def places(folder: Path, text: str) -> list[tuple[str, str]]:
    found = read_bytes(folder, text.encode(), "csv", MAP)
    counted(found)
    return [(place, fate) for place, fate, _ in fates(found)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_end_of_some_system_joins_rows(end: str, tmp_path: Path) -> None:
    text = (HEAD + GOOD.format(1) + GOOD.format(2)).replace("\n", end)
    assert subjects(tmp_path, text.encode()) == ["id:p1", "id:p2"]


def test_last_row_without_line_end_is_lost(tmp_path: Path) -> None:
    assert subjects(tmp_path, (HEAD + GOOD.format(1)).rstrip().encode()) == ["id:p1"]


def test_byte_order_mark_becomes_part_of_the_first_name(tmp_path: Path) -> None:
    assert subjects(tmp_path, b"\xef\xbb\xbf" + (HEAD + GOOD.format(1)).encode()) == ["id:p1"]


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "windows-1252", "cp850", "iso-8859-15", "shift_jis"]
)
def test_named_encoding_is_read_as_another(encoding: str, tmp_path: Path) -> None:
    text = HEAD + "2026-02-28T10:03:00Z,p1,clerk,Ölö\n".replace("Ölö", "ソ" if "jis" in encoding else "Öl")
    found = read_bytes(tmp_path, text.encode(encoding), "csv", with_csv(f'encoding = "{encoding}"'))
    assert found[0].accesses[0].claims["reason"]["text"] in ("Öl", "ソ")


def test_row_in_another_encoding_takes_its_neighbours_with_it(tmp_path: Path) -> None:
    data = (HEAD + GOOD.format(1)).encode() + b"2026-02-28T10:03:00Z,p2,cl\xe9rk,\n" + GOOD.format(3).encode()
    found = read_bytes(tmp_path, data, "csv", MAP)
    assert [o.fate.value for o in found] == ["recorded", "rejected", "recorded"]
    assert found[1].position == "line 3" and "not utf-8" in found[1].reason and "encoding" in found[1].reason


def test_tab_separated_gzip_without_names_is_not_read(tmp_path: Path) -> None:
    map_ = with_csv('delimiter = "\\t"\ncolumns = ["when", "who", "by", "why"]')
    data = gzip.compress(GOOD.format(1).replace(",", "\t").encode())
    assert subjects(tmp_path, data, map_, "log.csv.gz") == ["id:p1"]


def test_other_quotation_marks_and_doubled_ones_are_kept(tmp_path: Path) -> None:
    data = (HEAD + "2026-02-28T10:03:00Z,'p1','it''s',x\n").encode()
    found = read_bytes(tmp_path, data, "csv", with_csv('quote = "\'"'))
    assert found[0].accesses[0].claims["actor"]["id"] == "it's"


def test_quoted_line_ends_divide_a_row(tmp_path: Path) -> None:
    row = '2026-02-28T10:03:00Z,p1,clerk,"one\ntwo\r\n\nthree"\n'
    found = read_bytes(tmp_path, (HEAD + row + GOOD.format(2)).encode(), "csv", MAP)
    assert [o.position for o in found] == ["line 2", "line 6"]
    assert found[0].accesses[0].claims["reason"]["text"] == "one\ntwo\r\n\nthree"


BROKEN: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "too few columns": ("a,b\n", [("line 3", "rejected")]),
    "too many columns": ("a,b,c,d,e\n", [("line 3", "rejected")]),
    "open quotation mark": ('x,"open,b,c\n', [("line 3", "rejected")]),
    "text after a closed one": ('x,"a"b,c,d\n', [("line 3", "rejected")]),
    "empty lines": ("\n\n", []),
    "no person": ("2026-02-28T10:03:00Z,,clerk,\n", [("line 3: who", "rejected")]),
    "person of spaces": ("2026-02-28T10:03:00Z,p 1,clerk,\n", [("line 3: who", "rejected")]),
    "no time": (",p1,clerk,\n", [("line 3: when", "rejected")]),
    "no such time": ("2026-02-30T10:03:00Z,p1,clerk,\n", [("line 3: when", "rejected")]),
    "no zone": ("2026-02-28T10:03:00,p1,clerk,\n", [("line 3: when", "rejected")]),
    "a field of a megabyte": (f"2026-02-28T10:03:00Z,p1,clerk,{'x' * 500_000}\n", [("line 3", "rejected")]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_row_takes_its_neighbours_with_it(case: str, tmp_path: Path) -> None:
    text, expected = BROKEN[case]
    lines = text.count("\n")
    found = places(tmp_path, HEAD + GOOD.format(1) + text + GOOD.format(2) + GOOD.format(3))
    rest = [(f"line {3 + lines}", "recorded"), (f"line {4 + lines}", "recorded")]
    assert found == [("line 2", "recorded"), *expected, *rest]


def test_mark_never_closed_swallows_the_rows_behind_it_even_a_quoted_one(tmp_path: Path) -> None:
    text = HEAD + 'x,"open,b,c\n' + '2026-02-28T10:03:00Z,"p2",clerk,"a\nb"\n' * 3
    assert [fate for _, fate in places(tmp_path, text)] == ["rejected", "recorded", "recorded", "recorded"]


def test_open_quotation_marks_read_the_file_again_for_every_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csvfile, "LONGEST_ROW", 2000)
    text = HEAD + 'x,"open,b,c\n' + GOOD.format(1) * 200
    found = places(tmp_path, text)
    assert len(found) == 201 and found[0] == ("line 2", "rejected") and found[-1][1] == "recorded"


def test_endless_line_fills_the_memory(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, HEAD.encode() + b"x" * (3 << 20), "csv", MAP)
    assert [o.fate.value for o in found] == ["rejected"] and "longer than" in found[0].reason


def test_cut_gzip_loses_the_rows_before_the_cut(tmp_path: Path) -> None:
    packed = gzip.compress((HEAD + "".join(GOOD.format(i) for i in range(10_000))).encode())
    found = read_bytes(tmp_path, packed[:-20], "csv", MAP)
    assert found[-1].fate.value == "rejected" and "gzip" in found[-1].reason
    assert sum(o.fate.value == "recorded" for o in found) > 2_000


def test_reason_repeats_what_stands_in_the_row(tmp_path: Path) -> None:
    rows = 'secret,secret1\nsecret,"secret2\n,secret 3,x,y\n2026-99-99,secret4,x,y\n'
    found = read_bytes(tmp_path, (HEAD + rows).encode(), "csv", MAP)
    assert len(found) == 4 and all(o.fate.value == "rejected" for o in found)
    assert "secret" not in str([(o.position, o.reason) for o in found])


FILES: dict[str, tuple[bytes, str]] = {
    "no such column": (b"when,person,by,why\n", "has no column who, which map.toml reads"),
    "column twice": (b"when,who,who,by,why\n", "more than one column named who"),
    "nothing": (b"", "the file is empty"),
    "utf-16": ((HEAD + GOOD).encode("utf-16"), 'say encoding = "utf-16"'),
    "semicolons": (b"when;who;by;why\n", "the `delimiter`"),
    "names in another encoding": (b"when,who,by,why,Stra\xdfe\n", "names cannot be read"),
}


@pytest.mark.parametrize("case", FILES)
def test_file_that_the_mapping_is_not_for_is_begun(case: str, tmp_path: Path) -> None:
    data, fault = FILES[case]
    (tmp_path / "log.csv").write_bytes(data)
    with Source(tmp_path / "log.csv") as source, pytest.raises(Malformed) as caught:
        inspect_csv(source, read_csv_mapping(MAP.encode(), "map.toml"))
    assert fault in str(caught.value)
    (outcome, *_) = read_file(tmp_path / "log.csv", "csv", MAP)
    assert outcome.fate.value == "rejected"


def test_two_rows_alike_are_one_and_a_row_read_again_is_another(tmp_path: Path) -> None:
    data = (HEAD + GOOD.format(1) * 2).encode()
    first = [o.identity for o in read_bytes(tmp_path, data, "csv", MAP)]
    again = [o.identity for o in read_bytes(tmp_path, data, "csv", MAP, "other.csv")]
    assert len(set(first)) == 2 and first == again
