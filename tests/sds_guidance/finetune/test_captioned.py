"""Captioned sets in every form, and what is wrong with them."""

import json

import pytest
from PIL import Image

from sds_guidance.finetune.captioned import CaptionedImage, read_captioned
from utils.errors import UserError, Warnings


def pictures(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)


def test_jsonl_keeps_order_and_attributes(tmp_path):
    pictures(tmp_path, "images/b.png", "images/a.png")
    rows = [
        {"file_name": "images/b.png", "text": " a red chair ", "family": "chair", "split": "train"},
        {"file_name": "images/a.png", "text": "a lamp"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    warnings = Warnings()
    assert read_captioned(tmp_path, warnings) == [
        CaptionedImage(tmp_path / "images/b.png", "a red chair", {"family": "chair", "split": "train"}),
        CaptionedImage(tmp_path / "images/a.png", "a lamp"),
    ]
    assert not warnings.kinds


@pytest.mark.parametrize("name", ["metadata.csv", "captions.csv"])
def test_csv_with_commas_in_quotes_and_a_byte_order_mark(tmp_path, name):
    pictures(tmp_path, "a.png")
    (tmp_path / name).write_bytes(b'\xef\xbb\xbffile_name,text,split\r\na.png,"a chair, red",train\r\n')
    assert read_captioned(tmp_path, Warnings()) == [
        CaptionedImage(tmp_path / "a.png", "a chair, red", {"split": "train"})
    ]


def test_text_files_beside_pictures_in_subfolders(tmp_path):
    pictures(tmp_path, "one/a.jpg", "two/b.PNG")
    (tmp_path / "one/a.txt").write_text("a fern\n")
    (tmp_path / "two/b.txt").write_text("a moss")
    assert [(i.path.name, i.caption) for i in read_captioned(tmp_path, Warnings())] == [
        ("a.jpg", "a fern"),
        ("b.PNG", "a moss"),
    ]


@pytest.mark.parametrize("kind", ["table", "text"])
def test_what_lacks_its_other_half_is_passed_over_and_said(tmp_path, kind):
    pictures(tmp_path, "a.png", "lonely.png")
    if kind == "table":
        rows = [{"file_name": name, "text": "x"} for name in ("a.png", "gone.png")]
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        (tmp_path / "a.txt").write_text("x")
        (tmp_path / "gone.txt").write_text("x")
    warnings = Warnings()
    assert [image.path.name for image in read_captioned(tmp_path, warnings)] == ["a.png"]
    lines = "\n".join(warnings.lines())
    assert "a picture without caption was passed over: " in lines and "lonely.png" in lines
    assert "a caption without picture was passed over: " in lines and "gone" in lines

    filled = read_captioned(tmp_path, Warnings(), caption="a scan")
    assert {image.path.name: image.caption for image in filled} == {"a.png": "x", "lonely.png": "a scan"}


def test_folders_without_anything_to_learn_from_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        read_captioned(tmp_path / "nowhere", Warnings())
    with pytest.raises(UserError, match="there are no pictures"):
        read_captioned(tmp_path, Warnings())
    pictures(tmp_path, "a.png")
    with pytest.raises(UserError, match=r"none of its 1 pictures has a caption. Write metadata.jsonl"):
        read_captioned(tmp_path, Warnings())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "a.png"', "line 2 is not valid JSON"),
        ('["a.png", "x"]', "line 2: wanted is a JSON object"),
        ('{"file_name": "a.png", "caption": "x"}', r"line 2: wanted are .* found \['caption', 'file_name'\]"),
        ('{"file_name": "b.png", "text": "x"}', "line 2: b.png is there twice"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path, line, message):
    pictures(tmp_path, "a.png", "b.png")
    first = b'{"file_name": "b.png", "text": "x"}\n'
    (tmp_path / "metadata.jsonl").write_bytes(first + (line if isinstance(line, bytes) else line.encode()))
    with pytest.raises(UserError, match=f"metadata.jsonl.*{message}"):
        read_captioned(tmp_path, Warnings())
