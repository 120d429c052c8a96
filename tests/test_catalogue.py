"""Every row of docs/bad_inputs.md has tests, every promise of docs/promises.md too, and all of them are there."""

import ast
import re
from functools import cache

import pytest
from bad_input_rows import ODD, REFUSED

from flare_core import paths

TESTS = paths.ROOT / "tests"
CATALOGUE = (paths.ROOT / "docs" / "bad_inputs.md").read_text()
PROMISES = (paths.ROOT / "docs" / "promises.md").read_text()
NUMBERS = [f"C2-{number:02d}" for number in range(1, 54)] + [f"M{number}" for number in range(1, 14)]
CELLS = dict(re.findall(r"^\| ((?:C2-|M)\d+) \|.*\| (.+) \|$", CATALOGUE, re.MULTILINE))
NAMED = r"`([\w/]+\.py)::(\w+)`"


@cache
def there() -> dict[tuple[str, str], set[str]]:
    """File and name of every test to the rows of the catalogue that its name claims."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                claims = {f"C2-{number}" for number in re.findall(r"(?<=_)c2_(\d\d)(?=_)", node.name)}
                claims |= {f"M{int(number)}" for number in re.findall(r"(?<=_)m(\d\d)(?=_)", node.name)}
                found[str(path.relative_to(TESTS)), node.name] = claims
    return found


def test_every_row_is_there_once_and_in_order():
    assert re.findall(r"^\| ((?:C2-|M)\d+) \|", CATALOGUE, re.MULTILINE) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_every_row_names_the_tests_that_show_it_and_all_that_claim_it(number):
    named = set(re.findall(NAMED, CELLS[number]))
    has_rows = any(row.name.startswith(f"{number} ") for row in [*REFUSED, *ODD])
    assert CELLS[number].startswith("rows") == has_rows
    assert named or has_rows
    assert named - set(there()) == set(), "no such test"
    assert {test for test, claims in there().items() if number in claims} - named == set(), "not in the table"


def test_every_promise_names_tests_that_are_there():
    promises = re.split(r"\n- ", PROMISES)[1:]
    assert len(promises) >= 20
    for promise in promises:
        named = set(re.findall(NAMED, promise))
        assert named, f"no test: {promise[:60]}"
        assert named - set(there()) == set(), "no such test"
