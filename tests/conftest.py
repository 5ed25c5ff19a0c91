"""Rules for the whole suite: a test that did not run proves nothing, so a skipped one fails the run."""

import os
import sys

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# As in the Makefile, for whoever runs pytest without it: the commands that tests start find their modules compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a green run with skipped or expectedly failing tests into a red one.

    Before that, end the database server of this process, if one was started: later there is no time left for it.
    """
    if server := sys.modules.get("postgresserver"):
        server.PostgresServer.end_shared()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK:
        return
    if reporter.stats.get("skipped") or reporter.stats.get("xfailed"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that did not run."""
    for kind in ("skipped", "xfailed"):
        for report in terminalreporter.stats.get(kind, []):
            terminalreporter.write_line(f"{kind}, and so the run fails: {report.nodeid}", red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Tests of one file run in one process, in order; all that look at one running log share it."""
    return ByFile(config, log)


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out whole files, and each folder of WHOLE as one."""

    WHOLE = ("tests/demo", "tests/interop")

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in self.WHOLE if file.startswith(f"{folder}/")), file)
