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
    # It would go by number of tests, and those with processes of their own, which are few and long, would be last.
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """LONGEST first: one that begins when the rest is done leaves a processor idle for as long as it takes."""
    items.sort(key=lambda item: place_of(item.nodeid))


def place_of(nodeid: str) -> int:
    """Before which others it comes; those that are not named stay as they are, at the end."""
    return next((at for at, name in enumerate(LONGEST) if nodeid.startswith(name)), len(LONGEST))


LONGEST = (
    "tests/cluster/",
    "tests/demo/",
    "tests/publisher/test_bucket_faults.py",
    "tests/publisher/test_processes.py",
    "tests/department/test_end_to_end.py",
    "tests/department/test_agent_crashes.py",
    "tests/store/test_silence.py",
    "tests/department/test_registry_end_to_end.py",
    "tests/department/test_erasure_end_to_end.py",
    "tests/department/test_left_entries_end_to_end.py",
    "tests/service/test_slow_clients.py",
    "tests/doctor/",
    "tests/store/test_leadership.py",
    "tests/sequencer/test_crashes.py",
    "tests/publisher/test_misbehaving_witnesses.py",
    "tests/interop/",
    "tests/service/test_left_entries.py",
    "tests/verifier/test_watch_process.py",
    "tests/witness/test_auditor_served.py",
    "tests/service/test_order_of_checks.py",
    "tests/publisher/test_bucket_probe.py",
    "tests/service/test_erasures.py",
    "tests/verifier/test_misbehaving_logs.py",
    "tests/verifier/test_audit_command.py",
    "tests/service/test_overload.py",
    "tests/keyservice/",
    "tests/otlp/",
    "tests/publisher/",
    "tests/service/",
    "tests/store/",
)
"""Those that mostly wait stand between those that mostly compute."""


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out whole files, and each folder of WHOLE as one."""

    WHOLE = ("tests/demo", "tests/interop")

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in self.WHOLE if file.startswith(f"{folder}/")), file)
