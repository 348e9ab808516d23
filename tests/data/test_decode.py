"""One image file to RGB pixels, on files written here."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tenet.data.decode import decode
from tenet.errors import DatasetError
from tests.data.trees import folder_of, picture, read_image, read_whole, write_classes


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    write_classes(tmp_path / "clean")
    return tmp_path / "clean"


def test_grey_and_transparent_images_become_rgb(tmp_path):
    Image.new("L", (3, 2), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (3, 2), (1, 2, 3, 128)).save(tmp_path / "transparent.png")
    assert read_image(tmp_path / "grey.png").tolist() == [[[77] * 3] * 3] * 2
    assert read_image(tmp_path / "transparent.png").tolist() == [[[1, 2, 3]] * 3] * 2


@pytest.mark.parametrize("size", [(61, 40), (40, 61), (33, 33), (47, 90)])
def test_resize_and_crop_are_torchvisions(tmp_path, size):
    from torchvision import transforms

    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    expected = transforms.Compose([transforms.Resize(37), transforms.CenterCrop(30)])(Image.fromarray(pixels))
    assert np.array_equal(read_image(tmp_path / "image.png", resize=37, crop=30), np.asarray(expected))


LEVELS = np.arange(32, dtype=np.uint8).reshape(4, 8) * 8


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("png", "I;16"), ("tif", "I;16"), ("pgm", "I;16"), ("png", "I;16B"), ("tif", "I;16B")],
)
def test_grey_of_16_bits_keeps_its_levels(tmp_path, suffix, mode):
    values = (LEVELS.astype("u2") * 256 + 255).astype("<u2" if mode == "I;16" else ">u2")
    Image.frombytes(mode, (8, 4), values.tobytes()).save(tmp_path / f"image.{suffix}")
    pixels = read_image(tmp_path / f"image.{suffix}")
    assert all(np.array_equal(pixels[..., channel], LEVELS) for channel in range(3))


def test_tiff_with_white_as_zero_is_inverted_at_16_bits_as_at_8(tmp_path):
    values = LEVELS.astype("<u2") * 256
    Image.frombytes("I;16", (8, 4), values.tobytes()).save(tmp_path / "image.tif", tiffinfo={262: 0})
    assert np.array_equal(read_image(tmp_path / "image.tif")[..., 0], 255 - LEVELS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_8_bit_modes_are_as_in_pillow(tmp_path, mode):
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(256, size=(4, 5, 3), dtype=np.uint8)).convert(mode)
    # As a byte for each colour of the palette: Pillow would print a warning.
    image.save(tmp_path / "image.png", **({"transparency": bytes(range(200))} if mode == "P" else {}))
    assert np.array_equal(read_image(tmp_path / "image.png"), np.asarray(image.convert("RGB")))


def test_cmyk_jpegs_are_as_in_pillow(tmp_path):
    picture(90).convert("CMYK").save(tmp_path / "image.jpg")
    with Image.open(tmp_path / "image.jpg") as file:
        assert np.array_equal(read_image(tmp_path / "image.jpg"), np.asarray(file.convert("RGB")))


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_modes_without_an_8_bit_form_are_refused_by_name(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "image.tif")
    with pytest.raises(DatasetError, match=rf"image\.tif holds values of Pillow's mode {mode}, whose range"):
        read_image(tmp_path / "image.tif")


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_images_are_turned_as_their_exif_orientation_says_only_if_asked_for(tmp_path, suffix, orientation):
    path, exif = tmp_path / f"image.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as file:
        turned = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
        stored = np.asarray(file.convert("RGB"))  # Pillow turns TIFF files when they are loaded
    assert np.array_equal(decode(path.read_bytes(), name="image", upright=True), turned)
    assert np.array_equal(read_image(path), stored)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_an_animation_the_first_image_is_read(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    picture(90).save(path, save_all=True, append_images=[picture(200)], lossless=True)
    assert read_image(path)[2, 2].tolist() == list(picture(90).getpixel((2, 2)))


@pytest.mark.parametrize("suffix", ["jp2", "avif"])
def test_newer_formats_are_as_in_pillow(tmp_path, suffix):
    if suffix == "avif":
        pytest.importorskip("PIL.AvifImagePlugin")
    path = tmp_path / f"image.{suffix}"
    picture(90, size=(64, 48)).save(path)
    with Image.open(path) as file:
        assert np.array_equal(read_image(path), np.asarray(file.convert("RGB")))


# --- bounds


def test_a_file_that_claims_more_pixels_than_are_allowed_is_refused_before_it_is_decoded(clean, monkeypatch):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    (clean / "n01" / "val_0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DatasetError, match=r"val_0\.png has 9000 x 9000 pixels, more than"):
        read_whole(folder_of(clean), batch_size=1)


def test_a_bomb_is_refused_in_one_line(tmp_path):
    """Between its own two limits, Pillow warns, which is an error in tests."""
    path = tmp_path / "large.bmp"
    header = io.BytesIO()
    Image.new("1", (1, 1)).save(header, format="BMP")
    content = bytearray(header.getvalue())
    content[18:26] = struct.pack("<ii", 10_000, 10_000)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"large\.bmp has 10000 x 10000 pixels, more than"):
        read_image(path)


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once(tmp_path):
    file = io.BytesIO()
    picture(90, size=(2000, 2000)).save(file, format="JPEG", progressive=True)
    start = file.getvalue().rindex(b"\xff\xda")
    content = file.getvalue()[:-2]
    (tmp_path / "image.jpg").write_bytes(content + content[start:] * 2000 + b"\xff\xd9")
    before = time.process_time()
    with pytest.raises(DatasetError, match=r"image\.jpg has 20\d\d scans, more than 100; save it again"):
        read_image(tmp_path / "image.jpg")
    assert time.process_time() - before < 0.5
    (tmp_path / "image.jpg").write_bytes(file.getvalue())
    assert read_image(tmp_path / "image.jpg").shape == (2000, 2000, 3)


def test_jpegs_within_a_tiff_are_refused(tmp_path):
    picture(90, size=(64, 64)).save(tmp_path / "image.tif", compression="jpeg")
    with pytest.raises(DatasetError, match=r"image\.tif is a TIFF file of JPEG images"):
        read_image(tmp_path / "image.tif")


def test_a_result_too_large_for_any_network_is_refused(tmp_path):
    Image.new("1", (4097, 4096)).save(tmp_path / "image.png")
    with pytest.raises(DatasetError, match="is to become 4097 x 4096 pixels, more than"):
        read_image(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png", crop=8).shape == (8, 8, 3)
