"""The README is true: its output is what the commands print, its tables are the commands there are."""

import re
from pathlib import Path

import pytest
from demorun import DemoRun, command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shape(line: str) -> str:
    """A line without what differs from run to run: places in the log, sizes and today's date."""
    line = re.sub(r"\bentry [0-9]+", "entry N", line)
    line = re.sub(r"[0-9,]+ entries, as of .*", "N entries, as of then", line)
    return re.sub(r"until [A-Z][a-z]+ [0-9]{4}", "until then", line).strip()


def test_the_output_in_the_readme_is_not_what_is_printed(demo_run: DemoRun, tmp_path: Path) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", README, re.S)
    typed, *shown = block.splitlines()
    url = (demo_run.folder / "log-url").read_text().strip()
    words = typed.removeprefix("$ ").replace("$(cat log-url)", url).split()
    printed = [shape(line) for line in command(tmp_path, demo_run.folder, *words).stdout.splitlines()]
    place = 0
    for line in shown:
        if line == "…":
            continue
        assert shape(line) in printed[place:], f"no longer printed, or not in this order: {line}"
        place = printed.index(shape(line), place) + 1
    assert shown[-1].startswith("HOLDS") and place == len(printed)


@pytest.mark.parametrize("program", ["glassbook", "glassbook-verify"])
def test_a_command_is_missing_in_the_readme_or_in_the_program(program: str, tmp_path: Path) -> None:
    helped = command(tmp_path, tmp_path, program, "--help")
    assert helped.returncode == 0, helped.stderr
    listing = helped.stdout.partition("Commands")[2]
    there = set(re.findall(r"^[│ ]{1,2} *([a-z]+) {2,}\S", listing, re.M))
    assert set(re.findall(rf"^\| `{program} ([a-z]+)` \|", README, re.M)) == there


@pytest.mark.parametrize("group", ["ledger", "publisher", "witness", "source", "department"])
def test_a_subcommand_is_missing_in_the_readme_or_in_the_program(group: str, tmp_path: Path) -> None:
    helped = command(tmp_path, tmp_path, "glassbook", group, "--help")
    there = set(re.findall(r"^[│ ]{1,2} *([a-z-]+) {2,}\S", helped.stdout.partition("Commands")[2], re.M))
    (cell,) = re.findall(rf"^\| `glassbook {group}` \| (.*) \|$", README, re.M)
    assert set(re.findall(r"`([a-z-]+)`", cell)) == there


def test_the_extras_in_the_readme_are_not_those_of_the_package() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    (sentence,) = re.findall(r"the extras (.*?) add the rest", README, re.S)
    assert set(re.findall(r"`([a-z0-9]+)`", sentence)) == set(extras)
