"""CITATION.cff and docs/references.bib name the same five papers, those of the systems, with the same facts."""

import re
import tomllib

import pytest
import yaml

from flare_core.paths import ROOT
from flare_core.systems import SYSTEMS

CFF = yaml.safe_load((ROOT / "CITATION.cff").read_text())
BIB = (ROOT / "docs" / "references.bib").read_text()
ENTRY = re.compile(r"^@(\w+)\{(\w+),\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^  (\w+) = \{(.*?)\},$", re.MULTILINE | re.DOTALL)
PAPERS = {
    key: {name: " ".join(re.sub(r"[{}]", "", value).split()) for name, value in FIELD.findall(body)}
    for _, key, body in ENTRY.findall(BIB)
}
FROM_CFF = {reference["title"]: reference for reference in CFF["references"]}


def test_the_citation_file_has_what_version_1_2_0_requires_and_describes_this_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CFF["cff-version"] == "1.2.0" and CFF["message"] and CFF["title"]
    assert CFF["authors"] == [{"name": "flare_core developers"}]
    assert (CFF["version"], CFF["license"]) == (project["version"], project["license"])
    for reference in CFF["references"]:
        assert reference["title"] and reference["type"] in ("conference-paper", "generic")
        assert all(set(author) <= {"family-names", "given-names", "orcid"} for author in reference["authors"])
        for orcid in (author["orcid"] for author in reference["authors"] if "orcid" in author):
            assert is_orcid(orcid.removeprefix("https://orcid.org/")), orcid


def is_orcid(text: str) -> bool:
    """Whether the last digit is the check digit (ISO 7064, mod 11-2) of the other fifteen."""
    *digits, check = text.replace("-", "")
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    return check == "0123456789X"[(12 - total % 11) % 11]


def test_the_five_papers_are_those_of_the_systems():
    assert BIB.count("@") == len(PAPERS) == 5
    files = {path.stem for path in (ROOT / "flare_core" / "systems").glob("*.py")}
    assert set(PAPERS) <= files
    for key, system in SYSTEMS.items():
        (paper,) = [fields for name, fields in PAPERS.items() if key == name or key.startswith(f"{name}_bs")]
        first = paper["author"].split(",")[0]
        assert system.reference.startswith(f"{first} et al.")


@pytest.mark.parametrize("key", PAPERS)
def test_both_files_say_the_same(key):
    paper = PAPERS[key]
    other = FROM_CFF[paper["title"]]
    names = [f"{author['family-names']}, {author['given-names']}" for author in other["authors"]]
    assert paper["author"].split(" and ") == names
    same = {"doi": "doi", "url": "url", "year": "year", "volume": "volume", "note": "notes"}
    same |= {"booktitle": "collection-title"}
    for name, other_name in same.items():
        assert paper.get(name) == (str(other[other_name]) if other_name in other else None), name
    assert paper.get("pages") == (f"{other['start']}--{other['end']}" if "start" in other else None)
