"""The lock, environment.yml and pyproject.toml say the same, and the lock holds what is needed and no more."""

import ast
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from flare_core import paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
LOCK_LINES = [
    line.strip() for line in (paths.ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
]
LOCK = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LOCK_LINES}
DIRECT = [
    Requirement(text)
    for text in [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
]
# torch's CUDA builds bring these, its CPU build does not; torch pins them itself. What pyproject names is our own.
BROUGHT_BY_TORCH = ("nvidia-", "cuda-", "triton")
OWN = {canonicalize_name(requirement.name) for requirement in DIRECT}


def pinned_version(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not an exact pin"
    return Version(specifier.version)


def needed_packages() -> dict[str, str]:
    """Every package that pyproject needs on this machine, to its version, followed through the metadata."""
    versions, waiting, seen = {}, list(DIRECT), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ["", *requirement.extras]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in metadata.requires(name) or []:
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
        versions[name] = metadata.version(name)
    return {name: v for name, v in versions.items() if name in OWN or not name.startswith(BROUGHT_BY_TORCH)}


def test_environment_yml_has_the_pins_of_the_lock_and_the_python_of_pyproject():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    *from_conda, by_pip = environment["dependencies"]
    assert [line.replace("'", '"') for line in by_pip["pip"]] == LOCK_LINES
    assert [entry.split("=")[0] for entry in from_conda] == ["python", "pip"]
    python = next(entry.split("=")[1] for entry in from_conda if entry.startswith("python"))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{python}.7")


def test_every_line_of_the_lock_is_an_exact_pin_without_local_build_or_address():
    for requirement in LOCK.values():
        assert pinned_version(requirement).local is None
        assert requirement.url is None


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_lock_satisfies_pyproject(requirement):
    assert requirement.specifier.contains(pinned_version(LOCK[canonicalize_name(requirement.name)]))


def test_lock_holds_exactly_what_pyproject_needs():
    locked = {name for name, line in LOCK.items() if line.marker is None or line.marker.evaluate()}
    needed = set(needed_packages())
    assert needed - locked == set(), "needed but not locked: run `make lock`"
    assert locked - needed == set(), "locked but needed by nothing: remove from the environment, then `make lock`"


def test_the_tests_run_with_the_locked_versions():
    different = {
        name: (version, str(LOCK[name].specifier))
        for name, version in needed_packages().items()
        if Version(version).public != str(pinned_version(LOCK[name]))
    }
    assert different == {}, "run `make setup`"


def test_every_import_of_the_package_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in DIRECT}
    provided_by = metadata.packages_distributions()
    undeclared = set()
    for file in (paths.ROOT / "flare_core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            for top in {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"flare_core"}:
                distributions = {canonicalize_name(name) for name in provided_by[top]}
                if not distributions & declared:
                    undeclared.add((file.name, top))
    assert undeclared == set()
