"""The sample logs made ready for the demo: which file goes to which department, and dates moved out of the future."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

SAMPLES = Path(__file__).parent
DATA = SAMPLES / "data"

# The importer reads R4, R4B and R5; DSTU2 is among the samples because it has to be refused by name.
RELEASES = ("R4", "R4B", "R5")

_YEAR = re.compile(r'("occurredDateTime": ")(\d{4})(-)')


@dataclass(frozen=True)
class Department:
    """One department of the demo: the name of its folder, its files, and the sample citizen's identifier there."""

    name: str
    title: str
    files: tuple[Path, ...]
    subject: str


def departments(inputs: Path, this_year: int) -> tuple[list[Department], int]:
    """Copy the samples to `inputs`, one folder for each department.

    Returns the departments and by how many years the events of the screening programme were moved back: a multiple of
    four, so that every 29 February stays one.
    """
    health = [file for release in RELEASES for file in sorted((DATA / "hl7-fhir" / release).glob("*.json"))]
    hospital = sorted((DATA / "ihe-balp").glob("*.json"))
    made = []
    for name, title, files, subject in (
        ("health", "Health Records Service", health, "nhs:9990000018"),
        ("hospital", "County Hospital", hospital, "nhs:9990000018"),
    ):
        folder = inputs / name
        folder.mkdir(parents=True)
        copies = []
        for file in files:
            # R4, R4B and R5 have files of one name.
            copy = folder / (f"{file.parent.name}-{file.name}" if name == "health" else file.name)
            shutil.copyfile(file, copy)
            copies.append(copy)
        made.append(Department(name, title, tuple(copies), subject))

    bundle = gzip.decompress((DATA / "fhir-server-bundles" / "auditEvents.json.gz").read_bytes()).decode()
    last = max(int(year) for _, year, _ in _YEAR.findall(bundle))
    years = max(0, -(-(last - this_year + 1) // 4) * 4)
    moved = _YEAR.sub(lambda found: f"{found[1]}{int(found[2]) - years:04}{found[3]}", bundle)
    json.loads(moved)
    folder = inputs / "screening"
    folder.mkdir()
    file = folder / "auditEvents.json.gz"
    file.write_bytes(gzip.compress(moved.encode(), mtime=0))
    made.append(Department("screening", "Breast Screening Programme", (file,), "id:encounter-3"))
    return made, years
