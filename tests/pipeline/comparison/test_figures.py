"""The figures of a comparison: charts of its document."""

import re
from typing import Any

from pipeline.comparison.figures.charts import bars, curves


def told(title: str, value: float, deviation: float | None, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of a document, and its figures."""
    row = {"title": title, "model": "biam", "settings": {"model.name": "biam"} | settings}
    return row, {"mean": {"map": value}, "std": {"map": deviation}}


def document(*rows: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    figures = {row["title"]: found for row, found in rows}
    return {
        "rows": [row for row, _ in rows],
        "tasks": {"zsl": {"headline": "map", "chance": {"map": 0.05}, "rows": figures}},
    }


def test_rows_stand_as_bars_with_their_deviation_and_chance_as_a_line() -> None:
    found = document(told("one", 0.2, 0.01), told("two & more", 0.3, None))
    chart = bars(found)
    assert chart is not None
    assert len(re.findall(r'id="bars-\d+-bar"', chart)) == 2
    assert len(re.findall(r'id="bars-\d+-deviation"', chart)) == 1
    assert len(re.findall(r'id="bars-\d+-level"', chart)) == 1
    assert "two &amp; more" in chart
    assert "ZSL mAP, percent; chance 5.0" in chart
    assert bars(found) == chart
    assert bars({"tasks": {}, "rows": []}) is None


def test_rows_that_differ_in_one_number_make_a_curve() -> None:
    rows = [
        told(f"grid {side}", 0.2, 0.01, **{"model.grid_side": side, "model.blocks": ["rcb"]}) for side in (7, 2, None)
    ]
    others = [
        told("other blocks", 0.2, 0.01, **{"model.grid_side": 3, "model.blocks": []}),
        told("two differ", 0.2, 0.01, **{"model.grid_side": 3, "model.blocks": [], "model.top_k": 2}),
        (told("cannot do it", 0.2, None)[0] | {"settings": {}}, told("", 0.2, None)[1]),
    ]
    ((title, chart),) = curves(document(*rows, *others))
    assert title == "biam by model.grid_side"
    assert re.findall(r">(\d)</text>", chart)[:2] == ["2", "7"]
    assert len(re.findall(r'id="curve0-\d+-series-1"', chart)) == 6  # line, level, their samples, two deviations


def test_a_flag_is_no_number() -> None:
    rows = [told(str(flag), 0.2, None, **{"model.mean": flag}) for flag in (True, False)]
    assert not list(curves(document(*rows)))
