"""Files that a student edits: the shipped ones are right, and a wrong edit gets one sentence."""

from __future__ import annotations

import pytest

from internals.inputs import InputError, samples


def test_the_shipped_samples_cover_what_the_assignment_asks_for():
    shipped = samples()
    assert 5 <= len(shipped) <= 7
    text = "".join(s.text for s in shipped)
    assert any(c.isdigit() for c in text)
    assert any(0x4E00 <= ord(c) <= 0x9FFF for c in text)
    assert any(0x900 <= ord(c) <= 0x97F for c in text)
    assert "\u200d" in text
    assert "\t" in text
    assert "\n" in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("samples: [", "samples.yaml is no valid YAML in line"),
        ("texts: []", "must hold a list named 'samples'"),
        ("samples: [abc]", "Entry 1 of samples.yaml must be a mapping"),
        ("samples: [{id: a, title: t}]", "Entry 1 of samples.yaml needs `text:`"),
        ("samples: [{id: a, title: t, text: 12}]", "needs `text:` with a text in quotes"),
        ("samples: [{id: a, title: t, text: x, txet: y}]", "unknown field `txet`; known are id"),
        ("samples: [{id: A b, title: t, text: x}]", "has the id 'A b'; use lower-case"),
        (
            "samples: [{id: a, title: t, text: x}, {id: a, title: t, text: x}]",
            "Entry 2 of samples.yaml repeats the id 'a'",
        ),
    ],
)
def test_a_wrong_edit_is_named(tmp_path, content, sentence):
    path = tmp_path / "samples.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        samples(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"samples\.yaml is missing"):
        samples(tmp_path / "samples.yaml")
