"""One run of the demo for all tests that look at one: left running while they do, ended and looked at afterwards."""

from collections.abc import Iterator

import pytest
from demorun import DemoRun, command, is_running


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoRun]:
    """`make demo DIR=… DETACH=1`, and at the end `make demo-stop DIR=…`."""
    base = tmp_path_factory.mktemp("demo")
    home, folder = base / "home", base / "demo"
    home.mkdir()
    played = command(home, base, "glassbook", "demo", str(folder), "--detach")
    assert played.returncode == 0, played.stdout + played.stderr
    lines = (folder / "pids").read_text(encoding="utf-8").splitlines()
    pids = {name: int(number) for number, name in (line.split(" ") for line in lines)}
    yield DemoRun(folder, played.stdout + played.stderr, home, pids)
    stopped = command(home, base, "glassbook", "demo", str(folder), "--stop")
    assert stopped.returncode == 0, stopped.stderr
    assert not (folder / "pids").exists()
    assert [name for name, pid in pids.items() if is_running(pid)] == [], "still running after --stop"
