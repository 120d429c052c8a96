"""The model cards say what the files beside them and the result tables say."""

import json
import re
import shutil

import pytest

from flare_core import model_cards
from flare_core.paths import WEIGHTS
from flare_core.systems import SYSTEMS


@pytest.mark.parametrize("key", SYSTEMS)
def test_every_card_is_up_to_date_and_its_links_lead_somewhere(key):
    file = WEIGHTS / key / "README.md"
    text = file.read_text()
    assert model_cards.card(key) == text, "python -m flare_core.model_cards"
    assert "Not for clinical use" in text and SYSTEMS[key].reference in text
    assert all((file.parent / link).exists() for link in re.findall(r"\]\(([^)]+)\)", text))
    names = [path.parent.relative_to(file.parent) for path in file.parent.rglob("model.json")]
    assert names and all(f"| `{name}` |" in text for name in names)


def test_a_card_follows_its_submission(tmp_path):
    shutil.copytree(WEIGHTS / "dkfz_bs8", tmp_path / "dkfz_bs8")
    model = tmp_path / "dkfz_bs8" / "batch8_fold0" / "model.json"
    content = json.loads(model.read_text()) | {"training_cases": 12345}
    model.write_text(json.dumps(content))
    assert "12345" in model_cards.card("dkfz_bs8", tmp_path)
