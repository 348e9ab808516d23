"""Signs that a network's gradients mislead the attacks that follow them, so that it seems more robust than it is."""

from collections.abc import Mapping

from tenet.evaluation.measures import Predictions

# In percentage points of the images: smaller differences between attacks are chance.
MARGIN_PCT = 1.0
# From this share of the attacked images on.
MANY_PCT = 10.0


def signs_of_masked_gradients(
    none: Predictions, random: Predictions, fgsm: Predictions, others: Mapping[str, Predictions]
) -> list[str]:
    """A sentence for each sign, at one radius; none without any.

    none: without attack. random: under a search without gradients. others: under attacks of many steps, by their labels.
    Source: Athalye, Carlini and Wagner, ICML 2018 (arXiv 1802.00420), section 3.1, and AutoAttack's flags.
    """
    found = []
    for label, predictions in {"FGSM": fgsm, **others}.items():
        baselines = (
            {"random search": random} if predictions is fgsm else {"random search": random, "FGSM": fgsm}
        )
        for name, baseline in baselines.items():
            if baseline.error_pct > predictions.error_pct + MARGIN_PCT:
                found.append(
                    f"{label} is weaker than {name} (robust accuracy {100 - predictions.error_pct:.2f} % against "
                    f"{100 - baseline.error_pct:.2f} %)"
                )
    right = ~none.wrong
    if not right.any():
        return found
    for label, predictions in others.items():
        share = 100 * (predictions.nll <= none.nll)[right].double().mean().item()
        if share >= MANY_PCT:
            found.append(f"the loss of {share:.0f} % of the images does not rise over the steps of {label}")
    # The forward passes are the same, so that only an image that did not move, or whose loss is 0, has exactly its loss.
    share = 100 * (fgsm.nll == none.nll)[right].double().mean().item()
    if share >= MANY_PCT:
        found.append(f"a step along the gradient changes nothing for {share:.0f} % of the images: it is zero")
    return found
