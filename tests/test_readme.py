"""The README says what the result files say."""

import pytest

from flare_core import readme
from flare_core.paths import results_of


def test_every_number_of_the_readme_comes_from_the_committed_results():
    text = readme.README.read_text()
    assert readme.filled(text) == text


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="once each"):
        readme.filled("# Nothing here")


def test_the_mini_profile_keeps_what_was_asked_of_it():
    """Organs at 0.70 or more, and training on partial labels as they are at least 20 points worse."""
    import pandas as pd

    summary = pd.read_csv(results_of("mini") / "summary.csv").set_index(["system", "variant", "row"])
    organs = summary.loc[("nvauto", "as_published", "organs"), "dsc"]
    assert organs >= 0.70
    assert organs - summary.loc[("nvauto", "partial_as_full", "organs"), "dsc"] >= 0.20
