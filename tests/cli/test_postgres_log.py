"""`glassbook` on a log whose database is PostgreSQL: begun, looked at, and without a word of its password."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest
from engines import new_url
from postgresserver import PostgresServer
from program import Run

from ledger.settings import read_settings
from ledger.store import Store, log

ORIGIN = "log.example.gov/access/2026"
PLAIN = (
    "--origin",
    ORIGIN,
    "--yes",
    "--no-passphrase",
    "--listen",
    "127.0.0.1:9",
    "--public-listen",
    "127.0.0.1:9",
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return new_url("postgresql", tmp_path)


def test_a_log_in_postgresql_has_a_file_beside_it_or_no_two_leaves(
    glassbook: Run, tmp_path: Path, url: str
) -> None:
    ran = glassbook("init", "log", *PLAIN, "--database", url)
    assert (ran.code, ran.err) == (0, "")
    home = tmp_path / "log"
    assert not list(home.glob("*.sqlite*"))
    assert stat.S_IMODE((home / "glassbook.toml").stat().st_mode) == 0o600
    assert read_settings(home).database == url
    store = Store.open(url)
    with store.read() as db:
        assert log.read_size(db) == 2
    store.close()


def test_a_second_log_goes_into_the_same_database(glassbook: Run, tmp_path: Path, url: str) -> None:
    assert glassbook("init", "log", *PLAIN, "--database", url).code == 0
    ran = glassbook("init", "other", *PLAIN, "--database", url)
    assert (ran.code, "holds a log already" in ran.err) == (3, True)
    assert not (tmp_path / "other").exists()


def test_tables_of_others_are_taken_for_a_log_or_changed(glassbook: Run, url: str) -> None:
    with psycopg.connect(url) as db:
        db.execute("CREATE TABLE state (id int)")
    ran = glassbook("init", "log", *PLAIN, "--database", url)
    assert (ran.code, "in use by something else" in ran.err) == (3, True)
    with psycopg.connect(url) as db:
        assert db.execute("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (1,)


@pytest.mark.parametrize(
    "named", ["mysql://u:sesame-open@h/d", "sqlite://", "postgresql://u:sesame-open@h", "sesame-open:///", ""]
)
def test_a_url_of_another_kind_begins_half_a_log_or_is_repeated(
    glassbook: Run, tmp_path: Path, named: str
) -> None:
    ran = glassbook("init", "log", *PLAIN, "--database", named)
    assert ran.code == 2 and "sesame" not in ran.err + ran.out
    assert not (tmp_path / "log").exists()


def test_a_password_is_printed_by_a_command_that_fails(glassbook: Run, tmp_path: Path, url: str) -> None:
    home = tmp_path / "log"
    assert glassbook("init", "log", *PLAIN, "--database", url).code == 0
    settings = (home / "glassbook.toml").read_text()
    for database in (
        "operator:sesame-open@127.0.0.1:1/ledger",
        "operator:sesame-open@nowhere.invalid/ledger",
    ):
        (home / "glassbook.toml").write_text(settings.replace(url, f"postgresql://{database}"))
        for words in (
            ("ledger", "sequence"),
            ("publisher", "status"),
            ("doctor",),
            ("up",),
            ("source", "list"),
        ):
            ran = glassbook(*words, home)
            assert ran.code in (2, 3), (words, ran)
            assert "sesame" not in ran.err + ran.out and "Traceback" not in ran.err
    assert "sesame" not in repr(read_settings(home))


def test_a_password_in_a_passfile_is_not_found(glassbook: Run, tmp_path: Path) -> None:
    with PostgresServer() as server:
        plain = server.new_database()
        with psycopg.connect(plain, autocommit=True) as db:
            db.execute("CREATE ROLE ledger LOGIN PASSWORD 'sesame-open'")
            db.execute("GRANT ALL ON SCHEMA public TO ledger")
        hba = server.data / "pg_hba.conf"
        hba.write_text("host all operator 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.restart()
        passfile = tmp_path / "passfile"
        passfile.write_text(f"127.0.0.1:{server.port}:*:ledger:sesame-open\n")
        passfile.chmod(0o600)
        url = plain.replace("operator@", "ledger@")
        refused = glassbook("init", "log", *PLAIN, "--database", url)
        assert (refused.code, "password" in refused.err) == (3, True)
        assert glassbook("init", "log", *PLAIN, "--database", f"{url}?passfile={passfile}").code == 0
        assert "sesame" not in (tmp_path / "log" / "glassbook.toml").read_text()


def test_the_doctor_and_the_status_are_blind_to_the_server_and_to_who_leads(glassbook: Run, url: str) -> None:
    assert glassbook("init", "log", *PLAIN, "--database", url).code == 0
    store = Store.open(url)
    with store.lead("publisher") as leadership:
        assert leadership is not None
        out = glassbook("doctor", "log").out
        assert "database server: PostgreSQL 18" in out
        assert "sequencer: none leads" in out and ", term 1" in out
        assert "has fsync off" in out, "the server of the tests does not sync, and that has to be mended"
        assert "clock: agrees" in out
    store.close()
