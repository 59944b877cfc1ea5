"""A dataset takes the place of another one; what has to outlive a kill does."""

from __future__ import annotations

import shutil

import pytest

from tasks.yard.layouts import yolo_write


def write(out, text):
    with yolo_write.replacing_all(out) as new:
        (new / "images" / text).mkdir(parents=True)
        (new / "splits.json").write_text(text)
        (new / f"{text}.png").write_text(text)


def test_a_new_dataset_replaces_all_of_the_old_one(tmp_path):
    write(tmp_path, "old")
    write(tmp_path, "new")
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
        "images", "images/new", "splits.json", "new.png",
    }  # fmt: skip


def test_a_kill_while_the_old_images_go_leaves_the_splits_for_the_next_run(tmp_path, monkeypatch):
    write(tmp_path, "old")
    remove = shutil.rmtree

    def killed(path, **options):
        if not options:
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "new")
    assert (tmp_path / "splits.json").read_text() == "new"
