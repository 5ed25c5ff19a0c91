"""What the documents say about the code is true: links lead somewhere, and formats.md names what core uses."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("samples/*.md")])
TAG = re.compile(r"glassbook/v1/[a-z-]+")


def slug(heading: str) -> str:
    """How a heading is linked to: lower case, letters, digits and hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {
        slug(line.lstrip("#"))
        for line in document.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_nowhere(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_formats_and_core_name_other_domain_tags() -> None:
    documented = set(TAG.findall((ROOT / "docs/formats.md").read_text(encoding="utf-8")))
    core = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ledger/core").rglob("*.py"))
    assert documented == set(TAG.findall(core))


def test_a_document_says_a_folder_of_this_machine() -> None:
    for document in DOCUMENTS:
        found = re.findall(r"(?:/root/|/work/|/home/|/Users/)\w*", document.read_text(encoding="utf-8"))
        assert found == [], f"{document.name} names {found}"


def test_every_decision_stands_in_the_list_of_decisions() -> None:
    listed = set(
        re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (ROOT / "docs/adr/README.md").read_text(encoding="utf-8"))
    )
    assert listed == {path.name for path in (ROOT / "docs/adr").glob("0*.md")}


def test_code_names_a_document_that_is_not_there() -> None:
    named = set()
    for folder in ("ledger", "publisher", "verifier_cli", "bench", "samples"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".toml", ".md"):
                named |= set(re.findall(r"docs/[a-z/0-9-]+\.md", path.read_text(encoding="utf-8")))
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert missing == []
