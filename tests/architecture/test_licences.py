"""What users install is licensed as docs/adr/0010 says: read from the packages' own metadata."""

import re
from importlib.metadata import distribution, requires

import pytest

ALLOWED = re.compile(r"Apache|MIT|BSD|ISC|PSF|Python Software Foundation")
EXCEPTIONS = {"certifi": "MPL-2.0", "psycopg": "LGPL-3.0-only", "psycopg-binary": "LGPL-3.0-only"}


def shipped() -> list[str]:
    """Every package that `glassbook[all]` brings along, on this platform."""
    found: set[str] = set()
    waiting = [("glassbook", True)]
    while waiting:
        name, extras = waiting.pop()
        for line in requires(name) or []:
            requirement, _, marker = line.partition(";")
            if "extra ==" in marker and not extras or "win32" in marker and "!=" not in marker:
                continue
            depended = re.split(r"[\s\[<>=!~(]", requirement.strip())[0].lower().replace("_", "-")
            try:
                distribution(depended)
            except ModuleNotFoundError:
                continue  # for another platform or Python
            if depended not in found:
                found.add(depended)
                waiting.append((depended, False))
    return sorted(found - {"glassbook"})


def licence(name: str) -> str:
    metadata = distribution(name).metadata
    stated = [*(metadata.get_all("License-Expression") or []), *(metadata.get_all("License") or [])]
    return " ".join(
        [*stated, *(line for line in metadata.get_all("Classifier") or [] if line.startswith("License"))]
    )


@pytest.mark.parametrize("name", shipped())
def test_a_package_comes_along_under_another_licence(name: str) -> None:
    said = licence(name)
    assert ALLOWED.search(said) or EXCEPTIONS.get(name, "?") in said, f"{name}: {said[:100]}"
    assert "GPL" not in said or name in EXCEPTIONS


def test_the_vector_library_or_the_runtime_it_names_is_shipped() -> None:
    assert not {"ipp-crypto", "intel-cmplr-lib-rt", "intel-cmplr-lic-rt"} & set(shipped())


def test_the_list_of_what_is_shipped_is_empty() -> None:
    assert {"cryptography", "pynacl", "httpx", "fastapi", "sqlalchemy"} <= set(shipped())
