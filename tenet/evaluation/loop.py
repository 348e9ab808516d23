"""The one loop of every evaluation: predict each cell of each suite, once."""

import logging
from collections.abc import Sequence

from tenet.errors import ConfigError
from tenet.evaluation.attacked import predict_attacked
from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.measures import AnyPredictions
from tenet.evaluation.suites.suite import Cell, Suite
from tenet.run.progress import ProgressReport

logger = logging.getLogger("tenet")


def predict_suites(
    suites: Sequence[Suite], classifier: Classifier, cache: PredictionCache | None
) -> dict[str, AnyPredictions]:
    """Predictions by cell name; those that the cache holds are taken from it, the others are added to it.

    With several processes, the main one has the cache and the others None.
    """
    if cache is not None and cache.cached:
        what = (
            "using the predictions that were kept"
            if cache.is_pinned
            else "continuing an interrupted evaluation"
        )
        logger.info("%s: %d sets of images are already measured", what, cache.cached)
    broadcast = classifier.process_group.broadcast
    done: dict[str, AnyPredictions] = {}
    with ProgressReport("evaluation", total=sum(map(len, suites)), unit="cell") as progress:
        for suite in suites:
            for cell in suite.cells():
                name = cell.name
                if name in done:
                    raise ConfigError(f"suite {suite.name}: its cell {name} has the name of another cell")
                predictions = broadcast(None if cache is None else cache.load(name))
                if predictions is None:
                    predictions = _predict(classifier, cell, cache)
                    if cache is not None:
                        cache.save(name, predictions)
                done[name] = predictions
                progress.update(len(done), suite.describe(name, predictions))
    return done


def _predict(classifier: Classifier, cell: Cell, cache: PredictionCache | None) -> AnyPredictions:
    if cell.columns is not None:
        classifier = classifier.restricted(cell.columns)
    if cell.attack is None:
        return classifier.predict(cell.source)
    # All processes keep their parts in one folder.
    parts = classifier.process_group.broadcast(None if cache is None else cache.parts(cell.name))
    return predict_attacked(classifier, cell.source, cell.attack, parts=parts)
