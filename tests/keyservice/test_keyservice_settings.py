"""[keyservice] and [identifiers] of department.toml, refused at the first slip; and how often one may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openidprovider import OpenIdProvider
from smallkeyservice import SmallKeyService

from ledger.core.errors import Malformed
from ledger.department.keyservice.limits import RateLimit, network_of
from ledger.department.keyservice.settings import KeyServiceSettings
from ledger.department.settings import CannotGoOn, read_settings

TOP = 'origin = "log.example.gov/x"\nledger = "http://l.example"\nlog = "http://p.example"\n'
GOOD = {
    "listen": '"[::1]:8120"',
    "issuer": '"https://login.example.gov/realm"',
    "audience": '"https://keys.example/"',
    "activity": "9",
    "claims": '{ "https://id.example/nhs" = "nhs" }',
}


def read(folder: Path, **changes: str) -> KeyServiceSettings:
    members = {name: value for name, value in {**GOOD, **changes}.items() if value}
    (folder / "department.toml").write_text(
        TOP + "[keyservice]\n" + "".join(f"{name} = {value}\n" for name, value in members.items())
    )
    found = read_settings(folder).keyservice
    assert found is not None
    return found


def test_settings_are_not_as_written(tmp_path: Path) -> None:
    found = read(
        tmp_path, origins='["https://log.example.gov", "http://localhost:8080"]', proxies='["10.0.0.0/8"]'
    )
    assert (found.host, found.port, found.activity) == ("::1", 8120, 9)
    assert found.claims == {"https://id.example/nhs": "nhs"}
    assert not found.delegates and not found.plain_jwt and found.scope == ""
    assert found.algorithms == ("RS256", "PS256", "ES256", "EdDSA")


@pytest.mark.parametrize(
    ("changes", "member"),
    [
        ({"listen": ""}, "listen"),
        ({"listen": '"8120"'}, "listen"),
        ({"listen": '"127.0.0.1:99999"'}, "listen"),
        ({"listen": "8120"}, "listen"),
        ({"issuer": '"http://login.example.gov"'}, "issuer"),
        ({"issuer": '"https://login.example.gov/?x=1"'}, "issuer"),
        ({"issuer": '"https://user@login.example.gov/"'}, "issuer"),
        ({"issuer": '"login.example.gov"'}, "issuer"),
        ({"issuer": '"https://[x"'}, "issuer"),
        ({"audience": ""}, "audience"),
        ({"audience": '""'}, "audience"),
        ({"activity": ""}, "activity"),
        ({"activity": "0"}, "activity"),
        ({"activity": '"9"'}, "activity"),
        ({"scope": '"a b"'}, "scope"),
        ({"algorithms": '["RS256", "none"]'}, "algorithms"),
        ({"algorithms": '["HS256"]'}, "algorithms"),
        ({"algorithms": "[]"}, "algorithms"),
        ({"plain_jwt": '"yes"'}, "plain_jwt"),
        ({"delegates": "1"}, "delegates"),
        ({"origins": '["*"]'}, "origins"),
        ({"origins": '["https://log.example.gov/"]'}, "origins"),
        ({"origins": '["http://log.example.gov"]'}, "origins"),
        ({"proxies": '["proxy.example"]'}, "proxies"),
        ({"proxies": '["*"]'}, "proxies"),
        ({"releases_an_hour": "0"}, "releases_an_hour"),
        ({"requests_a_minute": "1.5"}, "requests_a_minute"),
        ({"claims": ""}, "claims"),
        ({"claims": "{}"}, "claims"),
        ({"claims": '{ a = "NHS" }'}, "claims.a"),
        ({"claims": "{ a = 1 }"}, "claims.a"),
        ({"issuers": '"x"'}, "issuers"),
    ],
)
def test_a_slip_goes_unseen(tmp_path: Path, changes: dict[str, str], member: str) -> None:
    with pytest.raises(Malformed) as refused:
        read(tmp_path, **changes)
    assert f"keyservice.{member}" in refused.value.where


@pytest.mark.parametrize("line", ['nhs = "chi"', 'NHS = "nhs"', "nhs = 1"])
def test_a_form_that_does_not_exist_is_taken(tmp_path: Path, line: str) -> None:
    (tmp_path / "department.toml").write_text(f"{TOP}[identifiers]\n{line}\n")
    with pytest.raises(Malformed, match="identifiers"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"activity": 8}, "activity"),
        ({"claims": '{ ssn = "ssn" }'}, "scheme"),
        ({"listen": '"192.0.2.1:1"'}, "listen"),
    ],
)
def test_a_service_starts_that_could_not_answer(
    provider: OpenIdProvider, tmp_path: Path, settings: dict[str, Any], word: str
) -> None:
    with pytest.raises(CannotGoOn, match=word), SmallKeyService(tmp_path, provider, **settings):
        pass


def test_a_form_of_another_name_is_not_used(provider: OpenIdProvider, tmp_path: Path) -> None:
    small = SmallKeyService(tmp_path, provider)
    with (small.home_folder / "department.toml").open("a") as file:
        file.write('[identifiers]\nid = "nhs"\n')
    with small:
        assert small.ask(small.token()).status_code == 403
        assert small.ask(small.token(dept_id="943 476 5919")).status_code == 200


def test_a_window_moves_in_jumps_or_forgets_who_asked() -> None:
    now = [0.0]
    limit = RateLimit(3, 60.0, lambda: now[0], names=2)
    for at in (0.0, 10.0, 20.0):
        now[0] = at
        assert limit.take("anna") == 0
    now[0] = 30.0
    assert limit.take("anna") == 30 and limit.take("bela") == 0
    now[0] = 60.0
    assert limit.take("anna") == 0
    assert limit.take("anna") == 10
    now[0] = 69.5
    assert limit.take("anna") == 1
    assert "anna" not in repr(vars(limit))
    # The table is bounded: the one counted longest ago goes.
    limit.take("cleo")
    assert len(limit._times) == 2 and limit.take("anna") > 0


def test_a_household_has_as_many_addresses_as_it_likes() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("unix") == "unix"
