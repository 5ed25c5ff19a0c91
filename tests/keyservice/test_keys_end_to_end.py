"""From logging in to the list, everything real: provider, ledger, publisher, witness, `department run`, `mine`."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openidprovider import OpenIdProvider
from smallkeyservice import AUDIENCE, THIS_YEAR
from test_end_to_end import CITIZEN, ORIGIN, SAMPLES, Operator, department, events, free_port, run

PEOPLE: dict[str, dict[str, Any]] = {
    "citizen": {"nhs_number": "999 000 0018"},
    "helped": {"nhs_number": "9990000018", "act": {"sub": "daughter@example.org"}},
}
ACTIVITY = """
[activities.9]
purpose = ["https://w3id.org/dpv#LegalCompliance"]
legal_basis = ["https://w3id.org/dpv#LegalObligation"]
data = ["https://w3id.org/dpv/pd#OfficialID"]
text = { en = "We give you the keys to your list." }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def operator(place: Path) -> Iterator[Operator]:
    running = Operator(place)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def citizens(place: Path) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(place, PEOPLE) as running:
        yield running


def until(what: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.fixture(scope="module")
def home(operator: Operator, citizens: OpenIdProvider, place: Path) -> Path:
    folder = place / "health"
    statement = place / "health.toml"
    statement.write_text((SAMPLES / "systems" / "health.toml").read_text() + ACTIVITY)
    run(
        "glassbook", "department", "init", folder, "--statement", statement, "--origin", ORIGIN,
        "--ledger", f"http://{operator.ledger}", "--log", f"http://{operator.log}",
        "--epoch", f"2025-{THIS_YEAR}", "--map", "map.toml", "--no-passphrase",
    )  # fmt: skip
    (folder / "map.toml").write_bytes((SAMPLES / "maps" / "health.toml").read_bytes())
    (folder / "policy.txt").write_bytes((operator.home / "policy.txt").read_bytes())
    run("glassbook", "source", "add", operator.home, folder / "statement.json")

    def registered() -> bool:
        asked = ("--subject", CITIZEN, "--out", place / "k")
        return department("keys", folder, *asked, code=None).returncode == 0

    until("the registration was not published", registered)
    return folder


@pytest.fixture(scope="module")
def address(operator: Operator, citizens: OpenIdProvider, home: Path) -> Iterator[str]:
    """Where the agent gives keys; it ends by itself when it is told to."""
    listen = f"127.0.0.1:{free_port()}"
    with (home / "department.toml").open("a") as settings:
        settings.write(
            f'\n[keyservice]\nlisten = "{listen}"\nissuer = "{citizens.issuer}"\naudience = "{AUDIENCE}"\n'
            'activity = 9\nscope = "stream-keys"\ndelegates = true\n[keyservice.claims]\nnhs_number = "nhs"\n'
        )
    agent = operator.start("glassbook", "department", "run", "--dir", home, "--interval", "0.5")
    url = f"http://{listen}"

    def up() -> bool:
        assert agent.poll() is None, (operator.place / "processes.log").read_text()
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    until("the key service did not start", up)
    yield url
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0


def get_keys(address: str, token: str) -> bytes:
    answer = httpx.get(
        f"{address}/v1/stream-keys", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_person_logs_in_and_does_not_find_who_looked_at_her_data_and_that_she_asked(
    operator: Operator, citizens: OpenIdProvider, home: Path, address: str, tmp_path: Path
) -> None:
    department("import", home, "fhir", events(tmp_path, 3))
    keys = tmp_path / "citizen.keys.json"
    keys.write_bytes(get_keys(address, citizens.log_in("citizen", AUDIENCE)))
    get_keys(address, citizens.log_in("helped", AUDIENCE))

    def nothing_waits() -> bool:
        outbox: dict[str, Any] = json.loads(department("status", home, "--json").stdout)["outbox"]
        return bool(outbox["receipts"] == 5)

    until("the records were not published", nothing_waits)
    mine = run(
        "glassbook-verify", "mine", keys, "--log", f"http://{operator.log}",
        "--policy", operator.home / "policy.txt", "--json",
    )  # fmt: skip
    (source,) = json.loads(mine.stdout)["result"]["sources"]
    assert len(source["accesses"]) == 5
    releases = [access for access in source["accesses"] if access["activity"] == 9]
    actors = sorted(str(access["claims"]["actor"]["id"]) for access in releases)
    assert actors == ["daughter@example.org", "the person whose data it is"]
    assert {access["activity_text"] for access in releases} == {"We give you the keys to your list."}
    said = (operator.place / "processes.log").read_text()
    assert "9990000018" not in said and "daughter" not in said and "eyJ" not in said
