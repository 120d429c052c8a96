"""The examples of docs/api.md do what they show, in the order of the page."""

import doctest
import re
import shutil

from flare_core.paths import ROOT

PAGE = ROOT / "docs" / "api.md"
NNUNET = ROOT / "tests" / "inference" / "nnunet_example" / "small.zip"


def test_the_examples_of_the_page_run_and_give_what_it_shows(tmp_path, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shutil.unpack_archive(NNUNET, tmp_path / "nnunet_model")
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 40
    said = []
    result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(examples, out=said.append)
    assert result.failed == 0, "".join(said)
