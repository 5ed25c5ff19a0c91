"""Every command that reads a log takes a URL, a folder, a tar, or several copies, and finds the same in each."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from logfactory import LogFactory
from logserver import LogServer
from ran import Ran, Run

COMMANDS: dict[str, tuple[Any, ...]] = {
    "mine": ("mine", "me.keys.json"),
    "consistency": ("consistency",),
    "audit": ("audit", "--jobs", "1"),
    "show": ("show", 4),
    "stats": ("stats", "--jobs", "1"),
}


def _told(ran: Ran) -> Any:
    """The verdict and what is the same wherever the log is read from."""
    result = ran.json["result"]
    return ran.exit, result.get("log", {}).get("root"), result.get("counts"), result.get("entry")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_log_is_the_same_wherever_it_is_read_from(
    run: Run, files: Path, log: LogFactory, command: str
) -> None:
    subprocess.run(["tar", "-cf", "log.tar", "public"], cwd=files, check=True)
    subprocess.run(["tar", "-czf", "log.tgz", "-C", "public", "."], cwd=files, check=True)
    (files / "part").mkdir()
    (files / "part/checkpoint").write_bytes((files / "public/checkpoint").read_bytes())
    with LogServer(log) as server:
        places = [
            ["public"],
            ["log.tar"],
            ["log.tgz"],
            ["part", "log.tar"],
            ["http://127.0.0.1:9/", "public"],
        ]
        found = []
        for place in places:
            names = [part for name in place for part in ("--log", name)]
            ran = run(*COMMANDS[command], "--policy", "policy.txt", *names, "--json")
            assert ran.exit == 0, ran.out
            assert "left aside" in ran.err or place[0] != "http://127.0.0.1:9/"
            found.append(_told(ran))
        assert all(one == found[0] for one in found)
        by_url = run(*COMMANDS[command], "--policy", "policy.txt", "--log", server.url, "--json")
        assert by_url.exit == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "said"), [("nowhere", "no such folder"), ("me.keys.json", "neither a tar")])
def test_what_is_no_log_could_not_be_checked(
    run: Run, files: Path, command: str, name: str, said: str
) -> None:
    ran = run(*COMMANDS[command], "--policy", "policy.txt", "--log", name, "--json")
    assert ran.exit == 3 and said in ran.json["message"] and name in ran.json["message"]
