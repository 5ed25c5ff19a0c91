"""The examples of docs/python-client.md and docs/otlp.md, run as they stand there."""

import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import httpx
import pytest
from logfactory import NOW
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

from ledger.department.client import AccessRecorder
from ledger.department.importers.ldv import read_ldv_mapping
from ledger.department.settings import read_settings

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = "/srv/glassbook/cases"


def examples(name: str) -> list[str]:
    """The indented blocks of a page, one after another."""
    text = (DOCS / name).read_text()
    blocks = re.findall(r"(?:^|\n)((?: {4,}[^\n]*\n|\n(?= {4}))+)", text)
    return [textwrap.dedent(block).strip("\n") + "\n" for block in blocks]


@pytest.fixture(autouse=True)
def at_the_time_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = AccessRecorder.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "clock", lambda: float(NOW))


def run(code: str, small: SmallDepartment, names: dict[str, Any]) -> None:
    secret = small.folder / "passphrase"
    secret.write_text("of no key here\n")
    secret.chmod(0o600)
    code = code.replace(FOLDER, str(small.home_folder)).replace("/run/secrets/glassbook", str(secret))
    exec(compile(code, "python-client.md", "exec"), names)
    if recorder := names.get("access"):
        recorder.close()


def test_the_first_example_records(small: SmallDepartment) -> None:
    seen: list[str] = []
    first, *_ = [block for block in examples("python-client.md") if "read_case" in block]
    run(first, small, {"read_case": lambda number: seen.append(number)})
    (claims,) = claims_in_outbox(small)
    assert seen == ["4711"]
    assert claims["subject"] == "id:4711" and claims["actor"]["id"] == "u77"
    assert claims["reason"]["text"] == "Appeal 2026-11"


def test_the_example_with_defaults_records(small: SmallDepartment) -> None:
    (second,) = [block for block in examples("python-client.md") if "defaults=" in block]
    run(second, small, {"AccessRecorder": AccessRecorder})
    both = claims_in_outbox(small)
    assert [claims["subject"] for claims in both] == ["id:4711", "id:4712"]
    assert {tuple(claims["data"]["fields"]) for claims in both} == {("address", "income")}
    assert {claims["event"]["system"] for claims in both} == {"case files"}


def test_the_fastapi_example_records(small: SmallDepartment) -> None:
    (third,) = [block for block in examples("python-client.md") if "add_middleware" in block]
    names: dict[str, Any] = {}
    run(third, small, names)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://cases") as client:
            return await client.get("/cases/4711", headers={"X-Official": "u77"})

    assert asyncio.run(ask()).json() == {"number": "4711"}
    (claims,) = claims_in_outbox(small)
    assert (claims["actor"]["id"], claims["event"]["outcome"]) == ("u77", "success")


def test_the_settings_and_mappings_of_the_otlp_page_are_read(small: SmallDepartment) -> None:
    blocks = examples("otlp.md")
    (settings,) = [block for block in blocks if block.startswith("[otlp]")]
    with (small.home_folder / "department.toml").open("a") as file:
        file.write(settings)
    otlp = read_settings(small.home_folder).otlp
    assert otlp is not None and (otlp.host, otlp.port, otlp.map.name) == ("127.0.0.1", 4318, "otlp.toml")
    mappings = [block for block in blocks if block.startswith("format")]
    assert len(mappings) == 2
    for mapping in mappings:
        read_ldv_mapping(mapping.encode(), "otlp.toml")
