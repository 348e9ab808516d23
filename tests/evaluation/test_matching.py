"""The classes of a data set and those of a network."""

import logging

import pytest
import torch

from tenet.data import ImageArrays
from tenet.errors import DatasetError
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.matching import match_classes, matching_note, missing_classes_note, warn_of_other_size
from tenet.networks import Network, ResNet

NUMBERS = [str(number) for number in range(12)]


@pytest.mark.parametrize(
    ("of_network", "of_data", "order"),
    [
        (["cat", "dog"], ["cat", "dog"], None),
        (["cat", "dog", "owl"], ["owl", "cat", "dog"], (2, 0, 1)),
        # Folders sorted as text, and with leading zeros.
        (NUMBERS, sorted(NUMBERS), (0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9)),
        (NUMBERS, [f"{number:02d}" for number in range(12)], None),
        (["10", "20"], ["20", "10"], (1, 0)),
    ],
)
def test_classes_are_matched_by_name(
    of_network: list[str], of_data: list[str], order: tuple[int, ...] | None
) -> None:
    assert match_classes(of_network, of_data, where="x") == order


@pytest.mark.parametrize(
    ("of_network", "of_data", "message"),
    [
        (["cat", "dog"], ["cat", "owl"], "only the network has dog; only the data has owl"),
        (["cat", "dog"], ["cat"], "its 1 classes are not the network's 2: only the network has dog"),
        (["cat", "dog"], ["0", "1", "2"], "only the data has 0, 1, 2"),
        (["0", "1"], ["1", "2"], "only the network has 0; only the data has 2"),
        (["cat", "dog"], ["1", "2"], "only the data has 1, 2"),
        (["cat", "cat", "dog"], ["dog", "cat", "cat"], "a name occurs twice"),
    ],
)
def test_other_classes_are_refused_with_their_names(
    of_network: list[str], of_data: list[str], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        match_classes(of_network, of_data, where="dataset=mine")


@pytest.mark.parametrize(
    ("of_network", "of_data", "whose"),
    [(["b", "a"], ["0", "1"], "the data has no class names"), (["0", "1"], ["b", "a"], "the network has no")],
)
def test_classes_without_names_are_taken_in_their_order_with_a_word(
    caplog: pytest.LogCaptureFixture, of_network: list[str], of_data: list[str], whose: str
) -> None:
    assert match_classes(of_network, of_data, where="x") is None
    assert whose in caplog.text
    assert "in their order: b, a" in caplog.text


@pytest.mark.parametrize("is_own", [True, False])
def test_other_data_without_class_names_is_reported(caplog: pytest.LogCaptureFixture, is_own: bool) -> None:
    with caplog.at_level(logging.INFO, logger="tenet"):
        assert match_classes(NUMBERS, NUMBERS, where="x", is_own=is_own) is None
    assert ("taken to be numbered as in training" in caplog.text) is not is_own


def test_a_classifier_predicts_in_the_order_of_the_data() -> None:
    network = Network(ResNet(num_classes=3, depth=8, width=4))
    images = torch.randint(256, (9, 8, 8, 3), dtype=torch.uint8)
    source = ImageArrays(images, torch.zeros(9, dtype=torch.int64))
    plain = Classifier(network).predict(source).predicted
    ordered = Classifier(network, order=(2, 0, 1)).predict(source).predicted
    assert torch.equal(torch.tensor([2, 0, 1])[ordered], plain)


def test_images_of_another_size_than_in_training_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    source = ImageArrays(torch.zeros(1, 8, 6, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    with caplog.at_level(logging.WARNING, logger="tenet"):
        warn_of_other_size(source, (8, 6), where="x")
        warn_of_other_size(source, None, where="x")
        assert not caplog.text
        warn_of_other_size(source, (8, 8), where="dataset=mine")
    assert "its images are 6 x 8 pixels, but the network was trained on 8 x 8" in caplog.text


def test_the_report_says_if_classes_were_matched_by_position():
    numbers = ["0", "1", "2"]
    assert "matched by position" in matching_note(numbers, ["red", "green", "blue"])
    assert "matched by position" in matching_note(["red", "green", "blue"], numbers)
    assert matching_note(["red", "green"], ["green", "red"]) == ""
    assert matching_note(numbers, ["1", "2", "3"]) == ""


def test_the_report_says_which_classes_have_no_image():
    """Such as the first images of a data set that is sorted by class."""
    images, labels = torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.tensor([0, 0, 2, 2])
    data = ImageArrays(images, labels, classes=("red", "green", "blue", "grey"))
    assert missing_classes_note(data, part="test") == "2 of the 4 classes have no test image: green, grey"
    whole = ImageArrays(images, torch.tensor([0, 1, 2, 3]), classes=("red", "green", "blue", "grey"))
    assert missing_classes_note(whole, part="test") == ""
