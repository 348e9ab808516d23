"""A search as a picture: its history, and the value over each parameter."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.files.atomic import write_atomically
from tenet.search.space import Choice, Parameter
from tenet.search.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(study: Study, path: Path) -> Path:
    """Write a PNG: the trials in order with the best so far, and a panel for each parameter."""
    from matplotlib.figure import Figure

    space = study.space
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    panels = 1 + len(space.parameters)
    figure = Figure(figsize=(3.0 * panels, 3.2), layout="constrained")
    history, *slices = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    values = [float(trial.value or 0) for trial in complete]
    pick = min if space.goal == "minimize" else max
    best = values.index(pick(values))
    so_far = [pick(values[: index + 1]) for index in range(len(values))]
    numbers = [trial.number for trial in complete]
    history.step(numbers, so_far, where="post", color="C0", label="best so far")
    _points(history, numbers, values, best=best, label="best")
    # A pruned trial has no value that could stand beside the others': it is marked at the edge.
    pruned = [trial.number for trial in study.trials if trial.state.name == "PRUNED"]
    if pruned:
        edge = history.get_xaxis_transform()
        history.plot(pruned, [0.99] * len(pruned), "x", color="C7", transform=edge, label="pruned")
    history.xaxis.get_major_locator().set_params(integer=True)
    history.set(xlabel="trial", ylabel=space.metric)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    for axes, (key, parameter) in zip(slices, space.parameters.items(), strict=True):
        _slice(axes, key, parameter, [trial.params[key] for trial in complete], values, best=best)
    for axes in (history, *slices):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=150, format="png"))
    return path


def _points(
    axes: "Axes", places: Sequence[float], values: Sequence[float], *, best: int, label: str | None = None
) -> None:
    axes.plot(places, values, "o", color="C0", alpha=0.6)
    axes.plot(places[best], values[best], "o", color="C3", label=label)


def _slice(
    axes: "Axes", key: str, parameter: Parameter, places: list[Any], values: Sequence[float], *, best: int
) -> None:
    if isinstance(parameter, Choice):
        axes.set_xticks(range(len(parameter.values)), [str(value) for value in parameter.values])
        axes.set_xlim(-0.5, len(parameter.values) - 0.5)
        places = [parameter.values.index(value) for value in places]
    elif parameter.log:
        axes.set_xscale("log")
    _points(axes, places, values, best=best)
    axes.set_xlabel(key)
