"""What a report measured, and the name that it gets: no report takes the place of another measurement's."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tenet.corruptions.archive import FolderArchive, OfficialArchive
from tenet.corruptions.generator import GeneratedCorruptions
from tenet.corruptions.names import CORRUPTIONS
from tenet.corruptions.source import describe_source
from tenet.corruptions.write import ArchiveWriter
from tenet.data import ImageArrays
from tenet.errors import ConfigError
from tenet.evaluation.measurement import Measurement
from tenet.evaluation.measures import Measures
from tenet.evaluation.suites.clean import Clean
from tests.data.trees import folder_of, write_classes
from tests.evaluation.suites.test_corruptions import Archive, make_suite

DATASET = {"_target_": "tenet.data.Arrays", "path": "/data/mine.npz", "mean": [0.5] * 3}
GENERATED = {"kind": "generated", "seed": 0, "generator": 2}
FILES = {"kind": "files", "archive": "CIFAR-10-C", "fingerprint": "0123456789abcdef"}


def images(seed=0, count=10):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return ImageArrays(pixels, torch.arange(count) % 2, ("even", "odd"))


def measure(*, source=GENERATED, test=0, kind=None, more=(), **changes):
    """The measurement of a run, with 19 corruptions unless `names` and `severities` say otherwise."""
    options = {key: changes.pop(key) for key in ("names", "severities", "normalized") if key in changes}
    suites = [
        Clean(images(test), Measures()),
        make_suite(Archive(kind or source["kind"]), source=source, **options),
        *more,
    ]
    fields = {"place": Path("run"), "weights_sha256": "w", "dataset": DATASET, "precision": "fp32"}
    return Measurement(**{**fields, "suites": suites, "is_run": True, "is_own_data": True, **changes})


def write(folder, measurement, *, asked=None):
    """Write the report as evaluate.py does; return its name."""
    name = f"{'-'.join(['corruptions', *measurement.marks])}.json"
    path = measurement.find_path(asked or folder / name, asked=asked is not None)
    corruptions: dict[str, dict[str, float]] = {}
    for cell in measurement.cells:
        if cell.startswith("corruption/"):
            corruptions.setdefault(cell.split("/")[1], {})[cell.split("/")[2]] = 1.0
    report = {"weights": str(measurement.place), "weights_sha256": measurement.weights_sha256}
    path.write_text(json.dumps({**report, **measurement.content(), "corruptions": corruptions}))
    return path.name


OTHERS = [
    (measure(test=1, is_own_data=False), "corruptions-on-arrays-mine-"),
    (measure(precision="bf16"), "corruptions-bf16.json"),
    (measure(normalization=[[0.3] * 3, [0.5] * 3], is_own_normalization=False), "corruptions-normalization-"),
    (measure(is_average=True, weights_sha256="ema"), "corruptions-ema.json"),
    (measure(source={**GENERATED, "seed": 1}), "corruptions-seed1.json"),
    (measure(source={**GENERATED, "generator": 3}), "corruptions-generator3.json"),
    (measure(normalized=True), "corruptions-relative-to-alexnet.json"),
    (measure(source={**FILES, "kind": "generated"}), "corruptions-CIFAR-10-C-01234567.json"),
    (measure(source=FILES), "corruptions-files.json"),
    (measure(names=CORRUPTIONS), "corruptions-15-corruptions.json"),
    (measure(names=["fog"]), "corruptions-part.json"),
    (measure(test=2), "corruptions-on-arrays-mine-"),
]


@pytest.mark.parametrize(("other", "name"), OTHERS)
def test_the_report_of_another_measurement_gets_a_name_of_its_own_and_the_same_one_again(
    tmp_path, other, name
):
    assert write(tmp_path, measure()) == "corruptions.json"
    before = (tmp_path / "corruptions.json").read_bytes()
    found = write(tmp_path, other)
    assert found.startswith(name)
    assert write(tmp_path, other) == found
    assert write(tmp_path, measure()) == "corruptions.json"
    assert (tmp_path / "corruptions.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_the_others_have_names_of_their_own_too(tmp_path):
    assert len({write(tmp_path, other) for other, _ in [(measure(), ""), *OTHERS]}) == 1 + len(OTHERS)


def test_two_archives_of_official_files_are_told_apart(tmp_path):
    other = {**FILES, "archive": "copy of C", "fingerprint": "fedcba9876543210"}
    assert write(tmp_path, measure(source=FILES)) == "corruptions-files.json"
    assert write(tmp_path, measure(source=other)) == "corruptions-files-copy-of-C-fedcba98.json"
    # The same content under another name is the same archive.
    assert write(tmp_path, measure(source={**FILES, "archive": "moved"})) == "corruptions-files.json"


def test_a_part_never_takes_the_place_of_more(tmp_path):
    assert write(tmp_path, measure(names=["fog", "snow"])) == "corruptions-part.json"
    assert write(tmp_path, measure(names=["fog"])) == "corruptions-fog-part.json"
    assert write(tmp_path, measure(names=["frost"], severities=[1, 5])) == (
        "corruptions-frost-severity-1+5-part.json"
    )
    assert write(tmp_path, measure(names=["fog", "snow", "frost"])) == "corruptions-part.json"
    names = [write(tmp_path, measure(names=list(CORRUPTIONS[start : start + 5]))) for start in (0, 10)]
    assert names == ["corruptions-5-corruptions-part.json", "corruptions-5-corruptions-2-part.json"]


def test_a_report_without_the_other_test_sets_does_not_replace_the_one_with_them(tmp_path):
    class Shifted(Clean):
        name = "shifted"

        def cell_names(self):
            return ["shifted"]

    both = measure(more=[Shifted(images(5), Measures())])
    assert write(tmp_path, both) == "corruptions.json"
    assert write(tmp_path, measure()) == "corruptions-19-corruptions.json"
    assert write(tmp_path, both) == "corruptions.json"
    assert write(tmp_path, measure(more=[Shifted(images(6), Measures())])).startswith("corruptions-shifted-")


def test_a_report_of_weights_that_have_changed_is_replaced(tmp_path):
    write(tmp_path, measure())
    trained_further = measure(weights_sha256="v", names=CORRUPTIONS)
    assert write(tmp_path, trained_further) == "corruptions.json"


def test_files_of_weights_with_one_folder_are_told_apart(tmp_path):
    alone = {"is_run": False, "is_own_data": False}
    assert write(tmp_path, measure(place=tmp_path / "m.pth", **alone)) == "corruptions.json"
    other = measure(place=tmp_path / "m.safetensors", weights_sha256="v", **alone)
    assert write(tmp_path, other) == "corruptions-m.safetensors.json"
    assert (
        write(tmp_path, measure(place=tmp_path / "m.pth", weights_sha256="u", **alone)) == "corruptions.json"
    )


def test_a_chosen_file_is_not_replaced_by_another_measurement(tmp_path):
    write(tmp_path, measure())
    path = tmp_path / "corruptions.json"
    for other, what in (
        (measure(precision="bf16"), "precision"),
        (measure(test=1, is_own_data=False), "clean"),
        (measure(names=["fog"]), "more cells"),
    ):
        with pytest.raises(ConfigError, match=rf"holds the report of another measurement \({what}\)"):
            write(tmp_path, other, asked=path)
    assert write(tmp_path, measure(), asked=path) == "corruptions.json"


def test_only_the_standard_measurements_of_own_data_enter_the_summary(tmp_path):
    def enters(measurement, name="corruptions.json", *, asked=False):
        return not measurement.differences(tmp_path / name, asked=asked)

    assert enters(measure())
    assert enters(measure(source=FILES), "corruptions-files.json")
    assert not enters(measure(source=FILES), "corruptions-files-second-01234567.json")
    assert not any(enters(other, "x.json", asked=True) for other, _ in OTHERS[:3])
    assert not enters(measure(source={**FILES, "kind": "generated"}), "x.json", asked=True)
    assert not enters(replace(measure(), is_own_data=False))
    assert not enters(measure(), "corruptions-15-corruptions.json")


@pytest.mark.parametrize(
    ("measurement", "differences"),
    [
        (measure(is_average=True), ["of its averaged weights"]),
        (measure(is_own_data=False), ["of other test images than the run's"]),
        (measure(names=["fog"], precision="bf16"), ["in bf16", "of a part of the benchmark"]),
        (measure(source={**GENERATED, "seed": 2}), ["of other corruptions than the standard ones (seed2)"]),
    ],
)
def test_why_figures_stay_out_of_the_summary_is_said(tmp_path, measurement, differences):
    assert measurement.differences(tmp_path / "x.json", asked=True) == differences


@pytest.mark.parametrize(
    ("report", "name"),
    [
        ({"dataset": DATASET, "tenet_version": "0.1.0"}, "corruptions-generator2.json"),
        ({"dataset": {**DATASET, "path": "/other.npz"}}, "corruptions-on-arrays-mine-"),
        ({"dataset": {**DATASET, "std": [0.1] * 3}}, "corruptions.json"),
        ({"corruptions_from": {"seed": 3}}, "corruptions-seed0.json"),
    ],
)
def test_reports_of_earlier_versions_are_told_apart_by_what_they_say(tmp_path, report, name):
    known = {"source": "generated", "corruptions_from": {"seed": 0}, "weights_sha256": "w", **report}
    (tmp_path / "corruptions.json").write_text(json.dumps(known))
    assert write(tmp_path, measure()).startswith(name)


@pytest.mark.parametrize(
    ("measurement", "note"),
    [
        (measure(), ""),
        (measure(source=FILES, names=["fog"]), ""),
        (
            measure(is_own_normalization=False),
            "the run on its own test images, normalised otherwise than in training (fp32, generated)",
        ),
        (measure(precision="bf16"), "the run on its own test images (bf16, generated)"),
        (
            measure(names=["fog"], is_average=True),
            "the run's averaged weights on its own test images (fp32, generated, a part of the benchmark)",
        ),
        (measure(source={**GENERATED, "seed": 2}), "the run on its own test images (fp32, seed2)"),
        (measure(is_own_data=False), "the run on test images of arrays mine, not its own (fp32, generated)"),
    ],
)
def test_figures_that_are_not_the_runs_own_are_printed_with_what_they_are_of(measurement, note):
    assert measurement.note == note


# --- the source of the corruptions


def write_archive(folder, *, seed):
    """In the official layout; labels are the same for every seed."""
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(np.arange(10) % 2, 5))
    pixels = np.random.default_rng(seed).integers(256, size=(50, 16, 16, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", pixels)
    return OfficialArchive(folder)


def test_an_archive_is_known_by_its_content_wherever_it_lies(tmp_path):
    first, copy, other = (
        describe_source(write_archive(tmp_path / name, seed=seed), test=images())
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first["kind"] == "files"
    assert first["fingerprint"] == copy["fingerprint"] != other["fingerprint"]
    # The four extra corruptions are often added later.
    np.save(tmp_path / "a" / "saturate.npy", np.zeros((50, 16, 16, 3), dtype=np.uint8))
    assert (
        describe_source(OfficialArchive(tmp_path / "a"), test=images())["fingerprint"] == first["fingerprint"]
    )


def test_a_tree_is_known_by_its_content_wherever_it_lies(tmp_path):
    found = []
    for name, byte in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        for severity in "12345":
            for label in ("x", "y"):
                (tmp_path / name / "fog" / severity / label).mkdir(parents=True)
                (tmp_path / name / "fog" / severity / label / "1.JPEG").write_bytes(byte)
        found.append(describe_source(FolderArchive(tmp_path / name), test=images())["fingerprint"])
    assert found[0] == found[1] != found[2]


def test_a_generated_archive_of_the_same_images_is_the_generator_and_one_of_others_is_not(tmp_path):
    def written(name, test, seed):
        ArchiveWriter(tmp_path / name, test.images, test.labels, num_classes=2, seed=seed).write("labels")
        ArchiveWriter(tmp_path / name, test.images, test.labels, num_classes=2, seed=seed).write("contrast")
        return describe_source(OfficialArchive(tmp_path / name), test=images())

    for seed in (0, 3):
        generator = describe_source(GeneratedCorruptions(images(), seed=seed), test=images())
        assert written(f"own-{seed}", images(), seed) == generator == {**GENERATED, "seed": seed}
    other = written("other", images(1), 0)
    assert (other["kind"], other["archive"]) == ("generated", "other")


def test_a_folder_of_images_is_known_by_its_content_wherever_it_lies(tmp_path):
    def measured(name):
        write_classes(tmp_path / name)
        return Clean(folder_of(tmp_path / name), Measures()).measured()

    assert measured("a") == measured("b")
