r"""Write tables as LaTeX that compiles: every character of the text escaped, rules from booktabs.

Serves the export of tables. The document needs `\usepackage{booktabs}` and `\usepackage[table]{xcolor}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≠": r"$\neq$",
    "−": "$-$",
    "–": "--",
    "…": r"\ldots{}",
    '"': "''",
    **{character: f"\\{character}" for character in "&%$#_"},
}


def latex_text(text: str) -> str:
    """Return text in which nothing is a command.

    Raises:
        ValueError: for a character outside of ASCII that has no command here: it may be missing from the font.
    """
    strange = sorted({character for character in text if ord(character) > 126 and character not in SPECIAL})
    if strange:
        raise ValueError(f"no LaTeX for {strange} in {text!r}; add them to flare_core.evaluation.latex.SPECIAL")
    return "".join(SPECIAL.get(character, character) for character in text)


def latex_row(cells: Sequence[str]) -> str:
    """Return one row of a tabular; a cell that starts with a bracket is kept from being taken for an option."""
    return " & ".join(f"{{{cell}}}" if cell.startswith("[") else cell for cell in cells) + r" \\"


def latex_table(
    caption: str,
    heads: Sequence[tuple[str, str]],
    rows: Sequence[str],
    notes: Sequence[str] = (),
    *,
    has_long_labels: bool = False,
) -> str:
    """Return a table environment.

    Args:
        caption: LaTeX, as are all other texts.
        heads: (upper, lower) head of every column; equal neighbors share the upper one, none at all leaves it out.
        rows: from `latex_row`, with as many cells as there are heads.
        notes: lines below.
        has_long_labels: the first column breaks lines.
    """
    first = "p{5cm}" if has_long_labels else "l"
    lines = [r"\begin{table}", r"\centering\scriptsize", rf"\caption{{{caption}}}"]
    lines += [rf"\begin{{tabular}}{{{first}{'l' * (len(heads) - 1)}}}", r"\toprule"]
    if any(upper for upper, _ in heads):
        upper = [(head, len(list(same))) for head, same in groupby(head for head, _ in heads)]
        lines.append(latex_row([rf"\multicolumn{{{count}}}{{l}}{{{head}}}" for head, count in upper]))
    lines += [latex_row([lower for _, lower in heads]), r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\raggedright {note}" for note in notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"
