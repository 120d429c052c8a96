"""Fixtures that several test folders share: a tiny cohort, and the data that may lie beside the project."""

from pathlib import Path

import pytest
from hypothesis import settings

from flare_core.cases.cohort import write_cohort
from flare_core.cases.dataset import Dataset
from flare_core.paths import ROOT

settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")  # the same examples every time: a failure is a change, never a draw

SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory) -> Path:
    """A cohort of thirty-two training and two validation cases of a few thousand voxels."""
    return write_cohort(tmp_path_factory.mktemp("cohort") / "tiny", cases=32, validation=2, seed=1, profile="tiny")


@pytest.fixture(scope="session")
def tiny_dataset(tiny_cohort) -> Dataset:
    """The same, indexed."""
    return Dataset.load(tiny_cohort)


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """The folder of the real CT; the test is skipped, saying so, where it does not lie beside the project."""
    folder = SHARED_DATA / "real_ct"
    if not folder.is_dir():
        pytest.skip(f"the real CT is not there: {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what the tests compile out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
