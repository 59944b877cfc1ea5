from __future__ import annotations

import pickle
import zipfile

import pytest

from tasks.brake_coast import download
from tasks.brake_coast.formats import archive, recording
from tasks.yard.files import file_hash, folder_hash, read_json
from tasks.yard.step import BadInput
from tests.tasks.brake_coast import drives
from tests.tasks.brake_coast.test_download import image, native

PICTURES = {f"2025-04-03 10-00-0{second}-0.jpg": image(second) for second in (0, 1, 2)}


@pytest.fixture
def packed(tmp_path):
    for name, data in PICTURES.items():
        (tmp_path / name).write_bytes(data)
    archive.pack(recording.image_files(tmp_path), tmp_path)
    return tmp_path


def test_pictures_in_an_archive_read_as_files_and_any_program_opens_it(packed):
    assert [path.name for path in packed.iterdir()] == ["frames.zip"]
    found = recording.images(packed)
    assert {path.name: path.read_bytes() for path in found.values()} == PICTURES
    with zipfile.ZipFile(packed / "frames.zip") as other:
        assert {name: other.read(name) for name in other.namelist()} == PICTURES and other.testzip() is None
    one = pickle.loads(pickle.dumps(next(iter(found.values()))))  # as a worker gets it
    assert one.stem == "2025-04-03 10-00-00-0" and one.is_file() and not one.with_name("gone.jpg").is_file()
    assert one.stat().st_size == len(one.read_bytes())
    (packed / "copy.jpg").write_bytes(one.read_bytes())
    assert file_hash(one) == file_hash(packed / "copy.jpg")


def test_equal_pictures_are_equal_bytes_and_a_changed_archive_is_read_anew(packed):
    before, path = file_hash(packed / "frames.zip"), recording.images(packed)["2025-04-03 10-00-01-0"]
    (packed / "frames.zip").unlink()
    for name, data in PICTURES.items():
        (packed / name).write_bytes(data)
    archive.pack(recording.image_files(packed), packed)
    assert file_hash(packed / "frames.zip") == before
    (packed / "frames.zip").unlink()
    (packed / path.name).write_bytes(image(9))
    archive.pack(recording.image_files(packed), packed)
    assert path.read_bytes() == image(9) and list(recording.images(packed)) == [path.stem]


def test_a_compressed_archive_is_refused_with_the_fix(tmp_path):
    with zipfile.ZipFile(tmp_path / "frames.zip", "w", zipfile.ZIP_DEFLATED) as other:
        other.writestr("a.jpg", image(1))
    with pytest.raises(BadInput, match=r"a\.jpg is compressed; pack the pictures stored: zip -0"):
        recording.images(tmp_path)


def test_what_was_downloaded_is_a_source_of_the_same_recordings(tmp_path):
    for number in range(3):
        native(tmp_path / "source", number)
    one = drives.section("download", source=str(tmp_path / "source"))
    download.run(one, tmp_path / "one")
    download.run(drives.section("download", source=str(tmp_path / "one")), tmp_path / "two")
    for name in recording.recordings(tmp_path / "one"):
        assert file_hash(tmp_path / "one" / name / "frames.zip") == file_hash(tmp_path / "two" / name / "frames.zip")


@pytest.mark.slow
def test_days_that_are_asked_for_are_brought_and_what_is_made_stays(tmp_path):
    """By the names of the drives; the folders of those that stay are not written again."""
    names = [native(tmp_path / "source", number).name for number in range(3)]
    first = names[0][:10]
    asked = drives.section("download", source=str(tmp_path / "source"), dates=[f"{first}..{first}"], min_recordings=1)
    whole = drives.section("download", source=str(tmp_path / "source"), dates=["2000-01-01.."], piece_minutes=60.0)
    asked = asked.model_copy(update={"piece_minutes": 60.0})
    download.run(asked, tmp_path / "out")
    kept = {
        name: (folder / ".done.json").stat().st_mtime_ns
        for name, folder in recording.recordings(tmp_path / "out").items()
    }
    assert kept.keys() == {names[0]}
    assert read_json(tmp_path / "out/report.json")["dates"]["of"] == 3
    download.run(whole, tmp_path / "out")
    download.run(whole, tmp_path / "at_once")
    for name, stamp in kept.items():
        assert (tmp_path / "out" / name / ".done.json").stat().st_mtime_ns == stamp
    assert folder_hash(tmp_path / "out") == folder_hash(tmp_path / "at_once")
