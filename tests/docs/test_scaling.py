"""docs/scaling.md: what is calculated there follows from what is put in, and what is measured names its command."""

import ast
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import PARTS

PAGE = (Path(__file__).parents[2] / "docs/scaling.md").read_text(encoding="utf-8")
INPUT = re.compile(r"^\| `(\w+)` \| ([\d.,]+) \| ([^|]*)\| ([^|]+) \|$", re.MULTILINE)
CALCULATED = re.compile(r"^\| `(\w+)` \| `([^`|]+)` \| ([\d.,]+) \| [^|]+ \|$", re.MULTILINE)
FUNCTIONS: dict[str, Callable[[float], float]] = {"ceil": math.ceil, "log2": math.log2}
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


def number(text: str) -> float:
    return float(text.replace(",", ""))


def evaluate(formula: str, names: dict[str, float]) -> float:
    """The value of a formula made of numbers, names, + − × ÷, powers, ceil and log2."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        return FUNCTIONS[node.func.id](value(node.args[0]))

    return value(ast.parse(formula, mode="eval").body)


def inputs() -> dict[str, float]:
    return {name: number(value) for name, value, _, _ in INPUT.findall(PAGE)}


def rounded(value: float) -> float:
    """To three digits, as the page says them."""
    return round(value, 2 - math.floor(math.log10(abs(value))))


def test_a_calculated_number_does_not_follow_from_what_is_put_in() -> None:
    names = inputs()
    wrong = []
    for name, formula, said in CALCULATED.findall(PAGE):
        names[name] = evaluate(formula, names)
        if rounded(names[name]) != number(said):
            wrong.append(f"{name} is {rounded(names[name]):,}, the page says {said}")
    assert wrong == []


def test_a_row_of_either_table_is_not_understood() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == len(INPUT.findall(PAGE)) + len(CALCULATED.findall(PAGE))
    assert len(CALCULATED.findall(PAGE)) > 30


def test_an_input_is_used_by_nothing() -> None:
    used = {name for _, formula, _ in CALCULATED.findall(PAGE) for name in re.findall(r"[a-z_]\w*", formula)}
    assert inputs().keys() - used == set()


def test_an_input_does_not_say_where_it_is_from() -> None:
    for name, _, _, source in INPUT.findall(PAGE):
        assert source.startswith(("assumed", "measured: ", "chosen", "the code: ", "the formats: ")), name


@pytest.mark.parametrize("part", sorted(set(re.findall(r"bench --part (\w+)", PAGE))))
def test_a_command_names_a_part_that_the_benchmark_has_not(part: str) -> None:
    assert part in PARTS
