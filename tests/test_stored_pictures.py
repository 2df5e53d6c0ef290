"""Stored pictures: drawn once for the same code, tables, options and theme."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from internals.cache import keys

PICTURES = """\
import json, sys
from pathlib import Path
import pandas as pd
from internals.figures import stored, style

drawn = []

def draw(table, label=""):
    drawn.append(label)
    fig, axes = style.figure()
    axes.plot(table["x"], table["y"], label=label)
    return fig

text = "".join(["two ", "words"])  # equal strings that are different objects
table = pd.DataFrame({"x": [1, 2], "y": [1.0, float("nan")], "what": [("a", text), None]})
made = stored.picture(style.render, draw, [table], {"label": sys.argv[1]}, sys.argv[2])
print(json.dumps({"drawn": len(drawn), "svg": made.svg, "png": made.png is not None}))
"""


def test_a_picture_is_drawn_once_for_the_same_table_options_and_theme(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text(PICTURES)
    env = {**os.environ, "INTERNALS_CACHE": str(tmp_path / "cache")}

    def draw(label: str, mode: str) -> dict:
        command = [sys.executable, str(script), label, mode]
        return json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)

    first = draw("one", "light")
    assert (first["drawn"], first["png"]) == (1, True)
    assert draw("one", "light") == {**first, "drawn": 0}
    assert draw("two", "light")["drawn"] == 1
    assert draw("one", "dark")["drawn"] == 1
    script.write_text(PICTURES.replace('table["y"], label', 'table["x"], label'))
    assert draw("one", "light")["drawn"] == 1


def test_tables_are_equal_by_content_and_not_by_object():
    import pandas as pd

    one, same = "x y", " ".join(["x", "y"])
    table = pd.DataFrame({"a": [one, one], "b": [(1, one), None]}, dtype=object)
    copy = pd.DataFrame({"a": [one, same], "b": [(1, same), None]}, dtype=object)
    assert keys.canonical(table) == keys.canonical(copy)
    other = [
        table.rename(columns={"a": "c"}),
        table.set_index("a"),
        table.iloc[::-1],
        table.assign(a="z"),
    ]
    assert len({str(keys.canonical(t)) for t in [table, *other]}) == 5
