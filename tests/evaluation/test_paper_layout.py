"""A small table laid out by hand, in every format; LaTeX that has nothing to trip over."""

import re

import pandas as pd
import pytest

from flare_core.evaluation.latex import latex_row, latex_table, latex_text
from flare_core.evaluation.paper_layout import OURS, PAPER, PaperTable
from flare_core.evaluation.style import diverging_color

NAN = float("nan")
COLUMNS = ["label", "group", "column", "metric", "unit", "printed", "mean", "spread", "flag", "reason"]
COLUMNS += ["ours", "ours_spread", "difference", "empty"]
CELLS = [
    (
        "A_1 & b",
        "Set|1",
        "DSC(%)",
        "dsc",
        "%",
        "97.41 ± 0.60",
        97.41,
        0.6,
        "arithmetic",
        "must be <98",
        90.0,
        1.25,
        -7.41,
        "",
    ),
    ("A_1 & b", "Set|1", "Time", "time", "min", "4min", 4.0, NAN, "", "", 0.5, NAN, 0.125, ""),
    ("C", "Set|1", "DSC(%)", "dsc", "%", "50", 50.0, NAN, "", "", NAN, NAN, NAN, "no such run"),
]


@pytest.fixture
def table():
    facts = {"paper": "stmt", "table": 9, "label_kind": "target", "source": "scores", "system": "stmt"}
    facts |= {"variant": "as_published", "seeds": "0", "profile": "mini", "device": "CPU", "recorded": "2026-01-02"}
    facts |= {"submission": "c0ffee"}
    cells = pd.DataFrame(CELLS, columns=COLUMNS).assign(**facts, made="came along", cases_ours=20)
    return PaperTable("stmt, table 9: 100 % of it", "Ours are synthetic.", cells, ("a doubt",))


def test_our_value_stands_under_each_printed_one_in_its_digits_and_unit(table):
    layout = table.layout()
    assert layout.columns.to_list() == [("Set|1", "DSC(%)"), ("Set|1", "Time")]
    assert layout.index.to_list() == [("A_1 & b", PAPER), ("A_1 & b", OURS), ("C", PAPER), ("C", OURS)]
    assert layout.to_numpy().tolist() == [
        ["97.41 ± 0.60a", "4min"],
        ["90.00 ± 1.25 (−7.41)", "0.50 min (×0.12)"],
        ["50", ""],
        ["–b", ""],
    ]


def test_notes_give_the_reasons_of_doubts_and_of_gaps(table):
    assert table.notes == {"arithmetic: must be <98": "a", "no such run": "b"}


def test_colors_are_of_our_values_alone_orange_below_and_purple_above(table):
    colors = table.colors().to_numpy()
    assert (colors[[0, 2, 3]] == "").all()
    (red, _, blue), (cost_red, _, cost_blue) = (
        [int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in colors[1]
    )
    assert red > blue, "7 points less: orange"
    assert cost_blue > cost_red, "an eighth of the time: purple"
    assert diverging_color(-5) == diverging_color(-1) != diverging_color(0)


def test_provenance_has_a_row_a_run(table):
    (run,) = table.provenance().to_dict("records")
    assert (run["cells"], run["cases"], run["recorded"], run["made"]) == (2, "20", "2026-01-02", "came along")
    assert run["submission"] == "c0ffee" and "submission c0ffee" in table.origins[0]


def test_html_says_what_the_numbers_are_and_escapes_the_text(table):
    html = table._repr_html_()
    assert html.index("Ours are synthetic.") < html.index("<table")
    assert (
        "A_1 &amp; b" in html and "97.41 ± 0.60<sup>a</sup>" in html and "must be &lt;98" in html and "a doubt" in html
    )
    assert repr(table) == "stmt, table 9: 100 % of it"


def test_markdown_has_as_many_cells_in_every_row(table):
    text = table.to_markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 6 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert r"Set\|1 DSC(%)" in rows[0] and "**Ours are synthetic.**" in text and "- b: no such run" in text


def without_commands(latex):
    r"""LaTeX without escaped characters, commands and math: nothing special may be left but & between cells."""
    text = re.sub(r"\$\\[a-z]+\$|\$-\$", "", latex)
    return re.sub(r"\\[&%$#_{}]|\\\\|\\[a-zA-Z]+", "", text)


def test_latex_is_balanced_escaped_and_even(table):
    text = table.to_latex()
    rest = without_commands(text)
    assert not re.search(r"[%$#_~^\\<>|]", rest) and text.isascii()
    depth = 0
    for character in rest:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1] == ["table", "tabular"]
    rows = [line for line in rest.splitlines() if "&" in line]
    assert [row.count("&") for row in rows] == [1, 3, 3, 3, 3, 3], "shared heads over two columns each"
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"97.41 $\pm$ 0.60\textsuperscript{a}" in text and r"\cellcolor[HTML]" in text


def test_every_special_character_is_escaped():
    assert latex_text("a_b & 5 % of {x} ~ ^ \\ $ # < > |") == (
        r"a\_b \& 5 \% of \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$ \# "
        r"\textless{} \textgreater{} \textbar{}"
    )
    with pytest.raises(ValueError, match="no LaTeX for"):
        latex_text("漢")
    assert latex_row(["[1, 2]", "x"]) == r"{[1, 2]} & x \\", "no option of the row before"
    assert r"\multicolumn" not in latex_table("c", [("", "a"), ("", "b")], [latex_row(["1", "2"])])


def test_an_export_is_three_files(table, tmp_path):
    files = table.export(tmp_path / "out")
    assert [file.name for file in files] == ["stmt_table9.csv", "stmt_table9.md", "stmt_table9.tex"]
    written = pd.read_csv(files[0])
    assert len(written) == 3 and written["warning"].eq("Ours are synthetic.").all()
    assert written["ours"].to_list()[:2] == [90.0, 0.5] and written["empty"].iloc[2] == "no such run"
