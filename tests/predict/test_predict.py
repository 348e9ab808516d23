"""What `python -m tenet.predict` prints, draws and refuses."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

import tenet
from tenet.corruptions.generator import corrupt
from tenet.data import to_images_01
from tenet.networks import Network, ResNet
from tenet.predict.__main__ import main
from tenet.predict.explanation import explain_decisions
from tenet.predict.pictures import cut_as_in_tests
from tests.publish.runs import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("predict"), evaluated=False)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(256, size=(3, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, pixels):
    """Two pictures of the network's size, a larger one, and two files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    (folder / "folder.png").mkdir()
    Image.fromarray(pixels[0]).save(folder / "a.png")
    Image.fromarray(pixels[1]).save(folder / "below" / "b.png")
    Image.fromarray(pixels[2]).resize((64, 40)).save(folder / "c.jpg")
    (folder / "broken.png").write_bytes(b"none")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def probabilities(run, images):
    with torch.no_grad():
        return tenet.load(run)(to_images_01(images)).softmax(dim=1)


def test_all_pictures_are_classified_and_broken_ones_named_at_the_end(run, pictures, pixels, capsys):
    assert main([str(run), str(pictures), "--format", "jsonl", "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["picture"] for line in lines] == [
        str(pictures / name) for name in ("a.png", "below/b.png", "c.jpg")
    ]
    expected = probabilities(run, torch.from_numpy(pixels[:2]))
    for line, row in zip(lines, expected, strict=False):
        found = {each["class"]: each["probability"] for each in line["predictions"]}
        assert found == pytest.approx({"0": float(row[0]), "1": float(row[1])}, abs=1e-5)
        assert line["predictions"][0]["class"] == str(int(row.argmax()))
    assert printed.err.splitlines() == [
        f"error: {pictures}/broken.png can't be read as an image: its format is unknown or not supported",
        "error: 1 picture of 4 could not be read",
    ]


def test_corrupted_pictures_are_those_of_the_generator(run, pictures, pixels, capsys):
    files = [str(pictures / "a.png"), str(pictures / "below" / "b.png")]
    assert main([str(run), *files, "--format", "csv", "--top", "1", "--corrupt", "contrast:4"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = probabilities(run, corrupt(torch.from_numpy(pixels[:2]), corruption="contrast", severity=4))
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        expected.amax(dim=1).tolist(), abs=1e-5
    )
    assert [row["class"] for row in rows] == [str(int(each)) for each in expected.argmax(dim=1)]
    assert main([str(run), *files]) == 0
    assert "probability" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "resize", "scaled", "box"),
    [
        ((64, 40), None, (25, 16), (4, 0, 20, 16)),
        ((64, 40), 20, (32, 20), (8, 2, 24, 18)),
        ((8, 8), None, (16, 16), (0, 0, 16, 16)),
    ],
)
def test_pictures_of_any_size_are_resized_and_cropped_as_test_images(size, resize, scaled, box):
    planned = cut_as_in_tests(size, image_size=(16, 16), resize=resize)
    assert (planned.scaled, planned.after) == (scaled, box)


def test_an_explanation_is_drawn(run, pictures, tmp_path, capsys):
    output = tmp_path / "why.png"
    files = [str(pictures / "a.png"), str(pictures / "c.jpg")]
    assert main([str(run), *files, "--explain", str(output), "--corrupt", "fog:2"]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")
    assert str(output) in capsys.readouterr().err


def test_without_a_group_its_channels_are_zero():
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=4, depth=8, width=4), cut="stage_2")
    network(torch.rand(16, 3, 16, 16))
    images = torch.randint(256, (2, 16, 16, 3), dtype=torch.uint8)
    seen = explain_decisions(network.eval(), images, layer="stage_2", groups=3)
    assert seen.shares.abs().sum(dim=1) == pytest.approx([100, 100], abs=1e-3)
    for group in range(3):
        is_in = (seen.explanation.assignments == group)[:, :, None, None]
        with torch.no_grad(), network.at_cut(lambda maps, is_in=is_in: torch.where(is_in, 0, maps)):
            torch.testing.assert_close(seen.without[:, group], network(to_images_01(images)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--explain", "a.jpg"], "--explain a.jpg: must be a .png file"),
        (
            ["--explain", "a.png", "--layer", "stage_9"],
            "--explain, --layer stage_9, --groups 3: cut=stage_9 is no",
        ),
        (["--explain", "a.png", "--groups", "9"], "--explain, --layer stage_2, --groups 9: "),
    ],
)
def test_a_wrong_option_is_an_error_of_one_line(run, pictures, capsys, arguments, message):
    assert main([str(run), str(pictures / "a.png"), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("cell", ["fgo:3", "fog", "fog:6"])
def test_a_corruption_that_is_not_there_is_refused(run, capsys, cell):
    with pytest.raises(SystemExit):
        main([str(run), "a.png", "--corrupt", cell])
    assert "fog" in capsys.readouterr().err
