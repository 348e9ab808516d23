"""Predictions of a classifier."""

import pytest
import torch
from torch import nn

from tenet.data import ImageArrays
from tenet.errors import NonFiniteOutputError
from tenet.evaluation.classifier import Classifier
from tenet.networks import Network, ResNet


def make_network(**options):
    torch.manual_seed(0)
    return Network(ResNet(num_classes=5, depth=8, width=4), **options).train()


@pytest.fixture
def classifier():
    return Classifier(make_network(), batch_size=4)


@pytest.fixture
def source():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return ImageArrays(images, torch.arange(10) % 5, tuple("abcde"))


def test_predictions_are_those_of_the_model_in_eval_mode(classifier, source):
    said = classifier.predict(source)
    assert classifier.network.training, "the mode is put back"
    backbone = classifier.network.backbone.eval()
    with torch.no_grad():
        probabilities = backbone((source.images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    assert torch.equal(said.predicted, predicted)
    assert torch.equal(said.labels, source.labels)
    torch.testing.assert_close(said.confidence, confidence)
    torch.testing.assert_close(said.nll, -probabilities[torch.arange(10), source.labels].log())
    assert said.error_pct == pytest.approx(100 * (predicted != source.labels).double().mean().item())
    assert said.mean_nll == pytest.approx(said.nll.mean().item())


def test_evaluation_moves_no_batch_statistics(classifier, source):
    before = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    classifier.predict(source)
    assert all(torch.equal(value, before[name]) for name, value in classifier.network.state_dict().items())


def test_predictions_do_not_depend_on_the_batch_size(classifier, source):
    whole = Classifier(classifier.network).predict(source)
    assert torch.equal(whole.predicted, classifier.predict(source).predicted)


def test_no_images_are_refused(classifier):
    with pytest.raises(ValueError, match="no images"):
        classifier.predict_batches([])


def test_bf16_and_channels_last_predict_nearly_the_same(classifier, source):
    other = Classifier(make_network(precision="bf16", channels_last=True))
    torch.testing.assert_close(
        other.predict(source).nll, classifier.predict(source).nll, rtol=0.05, atol=0.05
    )


def test_outputs_that_are_not_finite_give_no_figure(classifier, source):
    next(classifier.network.parameters()).data.fill_(torch.nan)
    with pytest.raises(NonFiniteOutputError, match="not finite"):
        classifier.predict(source)


def test_a_classifier_of_any_model_will_do(source):
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5)))
    assert 0 <= Classifier(network).predict(source).error_pct <= 100
