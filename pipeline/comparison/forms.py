"""The table of a comparison for other programs: Markdown, LaTeX and CSV."""

import csv
from collections.abc import Iterator
from io import StringIO

from pipeline.comparison.grid import Grid

_TEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"}
_TEX |= {"~": r"$\sim$", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--"}


def markdown(table: Grid) -> str:
    """A table of GitHub's Markdown, with its notes below."""
    lines = [table.header, *table.lines]
    rows = [f"| {' | '.join(text.replace('|', '&#124;') for text in line)} |" for line in lines]
    rule = "|" + "|".join(["---"] * len(table.header)) + "|"
    return "\n".join([rows[0], rule, *rows[1:], "", *(f"- {note}" for note in table.notes)]) + "\n"


def latex(table: Grid) -> str:
    """A `tabular` with the rules of package booktabs; the notes are comments above it."""
    columns = "ll" + "r" * (len(table.header) - 2)
    return "\n".join(_latex(table, columns)) + "\n"


def _latex(table: Grid, columns: str) -> Iterator[str]:
    yield from (f"% {note}" for note in table.notes)
    yield rf"\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"
    yield _tex_line(table.header)
    yield r"\midrule"
    yield from map(_tex_line, table.lines)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _tex_line(texts: tuple[str, ...]) -> str:
    escaped = ("".join(_TEX.get(sign, sign) for sign in text) for text in texts)
    return " & ".join(escaped) + r" \\"


def comma_separated(table: Grid) -> str:
    """CSV with a header; texts as in the other forms."""
    file = StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.header, *table.lines])
    return file.getvalue()
