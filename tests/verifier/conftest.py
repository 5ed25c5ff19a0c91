"""glassbook-verify run in this process, at the time of the log factory."""

from pathlib import Path

import pytest
from logfactory import NOW, LogFactory
from ran import Ran, Run

from verifier_cli import cli, commandline


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the program with these arguments, in an empty working directory and data folder."""
    monkeypatch.setattr(commandline, "clock", lambda: NOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def run(*args: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.app([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(int(caught.value.code or 0), out, err)

    return run


@pytest.fixture
def log() -> LogFactory:
    """Two departments; three accesses at the first, the last of them without an envelope, and one at the second."""
    log = LogFactory()
    health, tax = log.add_source(), log.add_source("Tax office")
    for _ in range(2):
        log.access(health)
    log.access(health, envelope=False)
    log.access(tax, recipient="the court of appeal")
    log.access(tax, "nhs:1112223334")
    return log


@pytest.fixture
def files(log: LogFactory, tmp_path: Path) -> Path:
    """`public/`, `policy.txt` and `me.keys.json` of that log, in the working directory."""
    log.publish(tmp_path / "public")
    (tmp_path / "policy.txt").write_text(log.policy_text())
    (tmp_path / "me.keys.json").write_bytes(log.keys_file("nhs:9434765919"))
    return tmp_path
