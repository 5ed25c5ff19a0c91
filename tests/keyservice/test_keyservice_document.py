"""docs/key-service.md says what the key service does."""

import re
from pathlib import Path

from ledger.department.identifiers import FORMS
from ledger.department.keyservice.problems import PROBLEMS
from ledger.department.keyservice.settings import KeyServiceSettings
from ledger.department.settings import read_settings

TEXT = (Path(__file__).parents[2] / "docs" / "key-service.md").read_text(encoding="utf-8")


def test_a_problem_is_missing_from_the_document() -> None:
    for code, (status, _) in PROBLEMS.items():
        line = next(line for line in TEXT.splitlines() if line.startswith("|") and f"`{code}`" in line)
        assert str(status) in line


def test_the_settings_shown_are_refused(tmp_path: Path) -> None:
    shown = re.search(r"(?m)^    \[keyservice\]\n(?:^    .*\n|\n)+", TEXT)
    assert shown is not None
    top = 'origin = "log.example.gov/x"\nledger = "http://l.example"\nlog = "http://p.example"\n'
    (tmp_path / "department.toml").write_text(top + re.sub("(?m)^    ", "", shown.group(0)))
    found = read_settings(tmp_path).keyservice
    assert found is not None and found.delegates
    written = set(re.findall(r"(?m)^    ([a-z_]+) = ", shown.group(0)))
    assert set(KeyServiceSettings.__slots__) - {"host", "port"} <= written | {"claims"}


def test_a_form_is_missing_from_the_document() -> None:
    assert re.findall(r"(?m)^\| `([a-z]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", TEXT) == list(FORMS)
