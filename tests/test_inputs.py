"""Files that a student edits: the shipped ones are right, and a wrong edit gets one sentence."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from internals.datafiles import check_table
from internals.inputs import InputError, samples
from internals.paths import DATA
from internals.run.check_inputs import READERS, check_all


def test_the_shipped_samples_cover_what_the_assignment_asks_for():
    shipped = samples()
    assert 5 <= len(shipped) <= 7
    text = "".join(s.text for s in shipped)
    assert any(c.isdigit() for c in text)
    assert any(0x4E00 <= ord(c) <= 0x9FFF for c in text)
    assert any(0x900 <= ord(c) <= 0x97F for c in text)
    assert "\u200d" in text
    assert "\n" in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("samples: [", "line 1: this is no valid YAML"),
        ("samples:\n  - id: a\n    title: t: u\n", "line 3: this is no valid YAML"),
        ("texts: []", "line 1: the file must hold a list named 'samples'"),
        ("samples: 5", "must hold a list named 'samples'"),
        ("- id: a", "must hold a list named 'samples'"),
        ("", "must hold a list named 'samples'"),
        ("samples: [{id: a, title: t, text: x}]\nsample: []", "'sample' is not known"),
        ("samples: [abc]", "entry 1 must be a mapping"),
        ("samples:\n- {id: a, title: t}", "line 2: the entry needs `text:`"),
        ("samples: [{id: a, title: t, text: 12}]", "needs `text:` with a text in quotes"),
        ("samples: [{id: a, title: t, text: yes}]", "needs `text:` with a text in quotes"),
        ("samples: [{id: a, title: t, text: [x]}]", "needs `text:` with a text in quotes"),
        ("samples: [{id: a, title: t, text: x, txet: y}]", "unknown field `txet`; known are id"),
        ("samples: [{id: a, title: t, text: x, 7: y}]", "unknown field `7`; known are id"),
        ("samples: [{id: A b, title: t, text: x}]", "the id 'A b' is not allowed; use lower-case"),
        (
            "samples:\n- {id: a, title: t, text: x}\n- {id: a, title: t, text: x}",
            "line 3: the id 'a' comes a second time",
        ),
        (
            "samples:\n- id: a\n  title: t\n  text: x\n  title: u",
            r"line 5: .*the key 'title' comes twice",
        ),
        ("samples: [{? [a] : b}]", "comes twice or is no text"),
        ('samples:\n- id: a\n  title: t\n  text: "\\ud83d"', "line 4: this is no valid YAML"),
    ],
)
def test_a_wrong_edit_is_named_with_its_line(tmp_path, content, sentence):
    path = tmp_path / "samples.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence) as error:
        samples(path)
    assert str(error.value).startswith("samples.yaml, line ")
    assert "\n" not in str(error.value)


GOOD = "# é\nsamples:\n- {id: a, title: t, text: x}\n- {id: b, title: t, text: é}\n"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (GOOD.replace("# é\n", "").encode("latin-1"), 3),
        (GOOD.encode("latin-1"), 1),
        (GOOD.encode("utf-16"), 1),
        (GOOD.encode("utf-16-le"), 1),
        (GOOD.replace("x", "x\0").encode(), 3),
        (GOOD.encode("utf-8", "surrogatepass").replace("é}".encode(), b"\xed\xa0\xbd}"), 4),
    ],
)
def test_another_encoding_is_named_with_its_line(tmp_path, data, line):
    path = tmp_path / "samples.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"samples\.yaml, line {line}: this is not UTF-8"):
        samples(path)


def test_the_mark_that_some_editors_put_first_is_no_fault(tmp_path):
    path = tmp_path / "samples.yaml"
    path.write_bytes(GOOD.encode("utf-8-sig"))
    assert [s.id for s in samples(path)] == ["a", "b"]
    table = tmp_path / "counts.csv"
    table.write_bytes("word,count\né,3\n".encode("utf-8-sig"))
    check_table(table, "word count#")


def test_a_python_without_the_fast_parser_says_the_same(tmp_path):
    path = tmp_path / "samples.yaml"
    path.write_text('samples:\n- {id: a, title: t, text: x}\n- {id: b, title: "\\ud83d", text: x}')
    code = (
        "import sys, yaml; del yaml.CSafeLoader\n"
        "from pathlib import Path; from internals.inputs import samples\n"
        "try: samples(Path(sys.argv[1]))\nexcept Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "samples.yaml, line 3: this is no valid YAML" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "word\nx\n", "line 2: the column 'count' is missing"),
        ("t.csv", "word,word\nx,1\n", "line 1: the first line must name the columns, each once"),
        ("t.csv", "word,count\n", "line 1: the table has no rows"),
        ("t.csv", "", "line 1: the first line must name the columns"),
        ("t.csv", "word,count\nx,1\n\ny,1,2\n", "line 4: 3 values stand under 2 columns"),
        ("t.csv", 'word,count\n"a\nb",1\ny\n', "line 4: 1 values stand under 2 columns"),
        ("t.csv", "word,count\nx,many\n", "line 2: count is 'many'; it must be a number"),
        ("t.csv", "word,count\nx,\n", "count is ''; it must be a number"),
        ("t.csv", "word,count\nx,nan\n", "count is 'nan'; it must be a number"),
        ("t.tsv", "word,count\nx,1\n", "the column"),
        ("t.jsonl", '{"word": "x", "count": "1"}\n{"word": "y"', "line 2: this is no valid JSON"),
        ("t.jsonl", '{"word": "x", "count": "1"}\n\n', "line 2: this is no valid JSON"),
        ("t.jsonl", '{"word": "x", "word": "y", "count": "1"}\n', "a key comes twice"),
        ("t.jsonl", '{"word": 5, "count": "1"}\n', "line 1: the line must be an object"),
        ("t.jsonl", "[1]\n", "line 1: the line must be an object"),
        ("t.jsonl", '{"word": "\\ud83d", "count": "1"}\n', "line 1: the line must be an object"),
        ("t.jsonl", '\ufeff{"word": "x", "count": "1"}\n', "line 1: this is no valid JSON"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=sentence) as error:
        check_table(path, "word count#")
    assert str(error.value).startswith(f"{name}, line ")


def test_signs_that_only_look_like_line_ends_stay_inside_a_row(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"text": "a\u2028b\u0085c"}\n' * 2, "utf-8")
    check_table(path, "text")


def test_all_shipped_files_are_right_and_read_in_a_moment():
    began = time.monotonic()
    check_all()
    assert time.monotonic() - began < 5


DAMAGES = {
    "missing": (lambda path: path.unlink(), "is missing; restore it with `git checkout "),
    "latin-1": (lambda path: path.write_bytes(path.read_bytes() + b"# \xe9\n"), "is not UTF-8"),
    "utf-16": (lambda path: path.write_bytes(path.read_text("utf-8").encode("utf-16")), "UTF-8"),
    "empty": (lambda path: path.write_bytes(b""), "must"),
    "wrong type": (lambda path: path.write_text("3\n"), "must|missing"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "restore it"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_whatever_file_is_damaged_in_whatever_way_is_named(tmp_path, name, damage):
    path = tmp_path / Path(name).name
    shutil.copy(DATA / name, path)
    spoil, sentence = DAMAGES[damage]
    spoil(path)
    with pytest.raises(InputError, match=sentence) as error:
        READERS[name](path)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)


def test_the_last_of_all_files_is_looked_at(tmp_path):
    for name in READERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / name, tmp_path / name)
    check_all(tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=Path(name).stem):
        check_all(tmp_path)


def test_files_of_the_project_are_named_as_git_knows_them():
    with pytest.raises(InputError, match=r"^data/prompts/none\.yaml is missing"):
        samples(DATA / "prompts" / "none.yaml")
