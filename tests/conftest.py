"""Rules for the whole suite: a test that did not run proves nothing, so a skipped one fails the run."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a green run with skipped or expectedly failing tests into a red one."""
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
