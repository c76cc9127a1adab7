"""The table of a comparison for other programs: Markdown, LaTeX and CSV."""

import csv
from collections.abc import Iterator, Mapping
from io import StringIO

from pipeline.comparison.grid import Grid

_TEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "\\": r"\textbackslash{}"}
_TEX |= {"~": r"$\sim$", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--"}
_TEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
_OPTION = ("[", "*")  # what the command before it would take for its own
_MARKDOWN = {"|": "&#124;", "<": "&lt;"}
_MARKDOWN_NAME = _MARKDOWN | {"&": "&amp;"} | {sign: f"\\{sign}" for sign in "\\`*~[]"}
_NAMES = 2  # columns that hold names and what a run failed with; the others are figures


def markdown(table: Grid) -> str:
    """A table of GitHub's Markdown, with its notes below."""
    lines = [table.header, *table.lines]
    rows = [f"| {' | '.join(_markdown_cells(line))} |" for line in lines]
    rule = "|" + "|".join(["---"] * len(table.header)) + "|"
    notes = (f"- {_replaced(note, _MARKDOWN)}" for note in table.notes)
    return "\n".join([rows[0], rule, *rows[1:], "", *notes]) + "\n"


def _markdown_cells(line: tuple[str, ...]) -> Iterator[str]:
    for column, text in enumerate(line):
        yield _replaced(text, _MARKDOWN_NAME if column < _NAMES else _MARKDOWN)


def _replaced(text: str, signs: Mapping[str, str]) -> str:
    return "".join(signs.get(sign, sign) for sign in text)


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
    escaped = " & ".join(_replaced(text, _TEX) for text in texts)
    return f"{{}}{escaped} \\\\" if escaped.startswith(_OPTION) else rf"{escaped} \\"


def comma_separated(table: Grid) -> str:
    """CSV with a header; texts as in the other forms."""
    file = StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.header, *table.lines])
    return file.getvalue()
