"""One decision for all lines whether an image is usable, how large it is and what it shows."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tasks.yard.layouts import bringing, images

RED, BLUE = (0, 0, 220), (220, 0, 0)  # BGR


def shown(width: int = 48, height: int = 32) -> np.ndarray:
    """Red at the upper left, blue elsewhere."""
    picture = np.full((height, width, 3), BLUE, np.uint8)
    picture[: height // 2, : width // 2] = RED
    return picture


def jpeg(picture: np.ndarray | None = None, orientation: int | None = None, **options) -> bytes:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file = io.BytesIO()
    found = shown() if picture is None else picture
    Image.fromarray(found[..., ::-1]).save(file, "JPEG", quality=95, subsampling=0, exif=exif.tobytes(), **options)
    return file.getvalue()


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(shown()[..., ::-1]).convert(mode).save(file, kind, **options)
    return file.getvalue()


def with_thumbnail(data: bytes) -> bytes:
    """An application segment that holds a whole small JPEG, as cameras write it."""
    small = jpeg(shown(16, 16))
    return data[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2) + small + data[2:]


FILM = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8 + b"\xff\xd9\xff\xd8"  # what follows a motion photograph
USABLE = {
    "plain.jpg": jpeg(), "progressive.jpg": jpeg(progressive=True), "padded.jpg": jpeg() + bytes(4096),
    "motion.jpg": jpeg() + FILM, "thumbnail.jpg": with_thumbnail(jpeg()), "png.jpg": encoded("PNG"),
    "webp.jpg": encoded("WEBP", lossless=True), "jpeg.png": jpeg(), "padded.png": encoded("PNG") + bytes(512),
    "grey.png": encoded("PNG", "L"), "one.bmp": encoded("BMP"), "one.tiff": encoded("TIFF"), "JPEG.JPG": jpeg(),
}  # fmt: skip
UNUSABLE = {
    "empty.jpg": b"", "text.jpg": b"<html>404</html>", "zeros.jpg": bytes(4096), "film.jpg": FILM,
    "cut.jpg": jpeg()[:-40], "cut and padded.jpg": jpeg()[:-40] + bytes(4096), "no end.jpg": jpeg()[:-2],
    "cut after its thumbnail.jpg": with_thumbnail(jpeg())[:-40], "cut progressive.jpg": jpeg(progressive=True)[:-60],
    "cut.png": encoded("PNG")[:-30], "cut png.jpg": encoded("PNG")[:-30], "cut.bmp": encoded("BMP")[:-900],
    "cut.webp": encoded("WEBP", lossless=True)[:-40], "float.tiff": encoded("TIFF", "F"),
}  # fmt: skip


@pytest.mark.parametrize("name", USABLE)
def test_a_usable_image_is_one_to_every_reader_whatever_it_is_called(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(USABLE[name])
    assert images.fault(path) is None and images.image_size(path) == (48, 32)
    picture = images.decoded(path)
    assert picture.shape == (32, 48, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(images.picture(path))[..., ::-1], picture)
    if "grey" not in name:
        assert np.abs(picture[4:12, 4:20].astype(int) - RED).max() < 12
        assert np.abs(picture[20:, 30:].astype(int) - BLUE).max() < 12


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_image_is_one_to_every_reader_and_says_why(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(UNUSABLE[name])
    assert images.image_size(path) is None and images.decoded(path) is None and images.picture(path) is None
    assert images.fault(path)


@pytest.mark.parametrize(("name", "why"), [("empty.jpg", "is empty"), ("text.jpg", "is no image"), ("cut.jpg", "cut")])
def test_the_reason_is_one_that_a_person_can_act_on(tmp_path, name, why):
    (tmp_path / name).write_bytes(UNUSABLE[name])
    assert why in images.fault(tmp_path / name)


STORED = {  # by EXIF's orientation, out of what is shown
    1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud, 5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1), 7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: lambda p: np.rot90(p, -1),
}  # fmt: skip


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_read_and_measured_as_it_is_shown(tmp_path, orientation):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(np.ascontiguousarray(STORED[orientation](shown())), orientation))
    assert images.image_size(path) == (48, 32)
    assert np.abs(images.decoded(path).astype(int) - shown()).mean() < 4
    done = bringing.bring([(path, tmp_path / "brought.jpg")])
    brought = (tmp_path / "brought.jpg").read_bytes()
    assert done == ({} if orientation == 1 else {"turned_as_shown": 1})
    assert (brought == path.read_bytes()) == (orientation == 1)
    with Image.open(tmp_path / "brought.jpg") as image:  # any program reads it alike
        assert image.size == (48, 32) and image.getexif().get(0x0112, 1) == 1
    assert np.abs(cv2.imread(str(tmp_path / "brought.jpg"), cv2.IMREAD_COLOR).astype(int) - shown()).mean() < 4


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tiff"), ("PNG", ".jpg")])
def test_other_formats_are_turned_by_their_exif_too(tmp_path, kind, suffix):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(STORED[6](shown())[..., ::-1])
    Image.fromarray(stored).save(file, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    source.write_bytes(file.getvalue())
    assert images.image_size(source) == (48, 32)
    assert bringing.bring([(source, target)]) == (
        {} if kind == "TIFF" else {"turned_as_shown": 1}
    )  # any reader turns it
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    for found in (images.decoded(source), cv2.imdecode(np.fromfile(target, np.uint8), flags)):
        assert found.shape == (32, 48, 3) and np.abs(found.astype(int) - shown()).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("bits", "brightest"), [(16, 60_000), (14, 16_000), (12, 4_000), (10, 1_000)])
def test_pictures_of_16_bits_keep_their_contrast(tmp_path, suffix, channels, bits, brightest):
    levels = np.linspace(0, brightest, 48 * 32).reshape(32, 48).astype(np.uint16)
    path = tmp_path / f"thermal{suffix}"
    cv2.imwrite(str(path), levels if channels == 1 else np.dstack([levels, levels // 2, levels // 4]))
    found = images.decoded(path)
    assert images.image_size(path) == (48, 32)
    np.testing.assert_array_equal(found[..., 0], levels >> (bits - 8))
    np.testing.assert_array_equal(found[..., 2], (levels if channels == 1 else levels // 4) >> (bits - 8))


def test_a_picture_of_16_bits_is_turned_too(tmp_path):
    exif, path = Image.Exif(), tmp_path / "thermal.png"
    exif[0x0112] = 6
    grey = shown()[..., 2].astype(np.uint16) * 256
    Image.fromarray(np.ascontiguousarray(STORED[6](grey))).save(path, exif=exif)
    np.testing.assert_array_equal(images.decoded(path)[..., 0], shown()[..., 2])
    assert images.image_size(path) == (48, 32)


def test_pictures_of_16_bits_of_one_camera_have_one_scale(tmp_path):
    pairs = []
    for name, brightest in (("dim", 900), ("bright", 16_000)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((32, 48), brightest, np.uint16))
        pairs.append((tmp_path / f"{name}.png", tmp_path / "brought" / f"{name}.png"))
    done = bringing.bring(pairs)
    assert done == {"brought_to_8_bits": 2, "bits_in_use": 14}
    assert [int(cv2.imread(str(target), cv2.IMREAD_UNCHANGED).max()) for _, target in pairs] == [900 >> 6, 16_000 >> 6]
    assert bringing.remarks(done) == ["2 images of 16 bits, 14 of them in use, are brought to 8"]


def test_palettes_transparency_and_printers_colours_are_read_as_colours(tmp_path):
    clear = Image.fromarray(np.dstack([shown()[..., ::-1], np.zeros((32, 48), np.uint8)]))
    clear.save(tmp_path / "clear.png")  # simulators write alpha 0 throughout
    (tmp_path / "palette.png").write_bytes(encoded("PNG", "P"))
    (tmp_path / "cmyk.jpg").write_bytes(encoded("JPEG", "CMYK", quality=95))
    for name in ("clear.png", "palette.png", "cmyk.jpg"):
        found = images.decoded(tmp_path / name).astype(int)
        assert np.abs(found[4:12, 4:20] - RED).mean() < 20 and np.abs(found[20:, 30:] - BLUE).mean() < 20, name


def test_images_are_brought_byte_by_byte_where_all_programs_read_them_alike(tmp_path):
    for name, data in (USABLE | UNUSABLE).items():
        (tmp_path / name).write_bytes(data)
    pairs = [(tmp_path / name, tmp_path / "brought" / name) for name in USABLE | UNUSABLE]
    assert bringing.bring(pairs) == {}
    assert all(source.read_bytes() == target.read_bytes() for source, target in pairs)


def test_a_trainer_gets_images_that_it_need_not_mend():
    for name, data in USABLE.items():
        suffix, content = images.for_trainer(data)
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.mode) == ({".jpg": "JPEG", ".png": "PNG"}[suffix], image.mode), name
        assert suffix == ".png" or content.endswith(b"\xff\xd9")  # ultralytics writes others anew where they lie
    assert images.for_trainer(USABLE["padded.jpg"])[1] == images.for_trainer(USABLE["motion.jpg"])[1] == jpeg()
    suffix, content = images.for_trainer(jpeg(np.ascontiguousarray(STORED[6](shown())), 6))
    assert suffix == ".png" and cv2.imdecode(np.frombuffer(content, np.uint8), 1).shape == (32, 48, 3)


def test_labels_for_an_image_as_it_is_stored_are_told_from_labels_for_the_one_shown():
    about = images.look(jpeg(np.ascontiguousarray(STORED[6](shown())), 6))
    assert images.wrong_shape(about, (48, 32)) is None and images.wrong_shape(about, (96, 64)) is None
    why = images.wrong_shape(about, (32, 48))
    assert (
        why == "its EXIF turns the image to 48x32, its labels are for 32x48, as it is stored; label it as it is shown"
    )
    assert images.wrong_shape(images.look(jpeg()), (32, 48)) == "the image is 48x32, its labels are for 32x48"
