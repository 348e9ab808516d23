"""The one loop of every evaluation: predict each cell of each suite, once."""

import logging
from collections.abc import Sequence

from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.measures import Predictions
from tenet.evaluation.suites.suite import Suite
from tenet.run.progress import ProgressReport

logger = logging.getLogger("tenet")


def predict_suites(
    suites: Sequence[Suite], classifier: Classifier, cache: PredictionCache
) -> dict[str, Predictions]:
    """Predictions by cell name; those that the cache holds are taken from it, the others are added to it."""
    if cache.cached:
        what = (
            "using the predictions that were kept"
            if cache.is_pinned
            else "continuing an interrupted evaluation"
        )
        logger.info("%s: %d sets of images are already measured", what, cache.cached)
    done: dict[str, Predictions] = {}
    with ProgressReport("evaluation", total=sum(map(len, suites)), unit="cell") as progress:
        for suite in suites:
            for name, source in suite.cells():
                predictions = cache.load(name)
                if predictions is None:
                    predictions = classifier.predict(source)
                    cache.save(name, predictions)
                done[name] = predictions
                progress.update(len(done), suite.describe(name, predictions))
    return done
