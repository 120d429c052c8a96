"""Result tables: the rows of systems that are trained again are replaced, the others stay."""

import pandas as pd

from flare_core.retrain import update_results


def table(*rows):
    return pd.DataFrame(rows, columns=["case", "dsc", "system"])


def read(path):
    return pd.read_csv(path).to_numpy().tolist()


def test_rows_of_other_systems_stay_and_the_order_is_that_of_the_systems(tmp_path):
    path = tmp_path / "scores.csv"
    update_results(table(("a", 0.1, "swinx"), ("a", 0.2, "nvauto")), path, ("nvauto", "swinx"))
    assert read(path) == [["a", 0.2, "nvauto"], ["a", 0.1, "swinx"]]
    update_results(table(("b", 0.3, "stmt"), ("a", 0.4, "stmt")), path, ("stmt",))
    update_results(table(("a", 0.25, "nvauto")), path, ("nvauto",))
    expected = [["a", 0.25, "nvauto"], ["b", 0.3, "stmt"], ["a", 0.4, "stmt"], ["a", 0.1, "swinx"]]
    assert read(path) == expected


def test_systems_that_are_gone_and_rows_that_are_no_longer_made_go(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("case,dsc,system\na,0.1,nobody\na,0.2,dkfz_bs8\na,0.3,nvauto\n")
    update_results(table(), path, ("dkfz_bs8",))
    assert read(path) == [["a", 0.3, "nvauto"]]


def test_a_table_without_rows_has_its_columns(tmp_path):
    path = update_results(table(), tmp_path / "pseudo_labels.csv", ("dkfz_bs8",))
    assert path.read_text() == "case,dsc,system\n"


def test_numbers_of_others_are_written_back_as_they_were(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("case,dsc,system\na,0.1234567890123456,stmt\n")
    update_results(table(("a", 0.5, "nvauto")), path, ("nvauto",))
    assert "a,0.1234567890123456,stmt\n" in path.read_text()
