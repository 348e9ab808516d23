"""The state of a training run, as a checkpoint saves and restores it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.errors import CheckpointError
from tenet.files.json import number
from tenet.files.names import AVERAGED_KEY
from tenet.files.weights import INTERFACE
from tenet.methods.method import Method
from tenet.networks import Network
from tenet.training.averaging import WeightAverage
from tenet.training.checkpoint import Checkpoints
from tenet.training.means import RunningMeans


@dataclass
class TrainingState:
    """What changes while a network is trained.

    step: the current iteration, counted from 1; 0 before the first. closed_step: the step at which an epoch was last
    finished, including its evaluation. nonfinite_steps: updates that were skipped because loss or gradient was not
    finite.
    average: the average of the network's weights; None if the run has none.
    metrics: the last value of each metric. resumed_at: the step of the checkpoint that this process started from; None
    if it started without one.
    """

    network: Network
    optimizer: Optimizer
    method: Method
    means: RunningMeans
    average: WeightAverage | None = None
    step: int = 0
    closed_step: int = 0
    nonfinite_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    resumed_at: int | None = None

    @classmethod
    def restore(
        cls,
        network: Network,
        optimizer: Optimizer,
        method: Method,
        *,
        checkpoints: Checkpoints,
        average: WeightAverage | None = None,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> "TrainingState":
        """The state of the last checkpoint, loaded into network, optimizer, method and average; step 0 if there is none.

        Raises CheckpointError if the checkpoint does not fit.
        """
        means = RunningMeans(next(network.parameters()).device, process_group)
        state = cls(network, optimizer, method, means, average)
        found = checkpoints.find()
        if found is None:
            return state
        saved = found.content
        try:
            network.backbone.load_state_dict(saved["model"])
            if average is not None:
                average.network.backbone.load_state_dict(saved[AVERAGED_KEY])
            _restore_optimizer(optimizer, saved["optimizer"])
            means.restore(_check_means(saved["means"]))
            method.restore_counters(
                {str(name): _check_count(value) for name, value in saved["counters"].items()}
            )
            _restore_method(method, saved.get("method", {}), process_group.rank, means.device)
            for name in ("step", "closed_step", "nonfinite_steps"):
                setattr(state, name, _check_count(saved[name]))
            if state.closed_step > state.step:
                raise ValueError(f"an epoch ended at step {state.closed_step}, after step {state.step}")
            state.resumed_at = state.step
            state.metrics = {
                str(name): _check_metric(str(name), value) for name, value in saved["metrics"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise CheckpointError(f"{found.path} does not fit this configuration: {error}") from error
        return state

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint; every process must call this."""
        content = {
            "model": self.network.backbone.state_dict(),
            INTERFACE: self.network.interface,
            "optimizer": self.optimizer.state_dict(),
            "means": self.means.totals(),
            "counters": self.method.counters(),
            "method": {
                name: self.means.process_group.gather_rows(rows) for name, rows in self.method.state().items()
            },
            "step": self.step,
            "closed_step": self.closed_step,
            "nonfinite_steps": self.nonfinite_steps,
            "metrics": self.metrics,
        }
        if self.average is not None:
            content[AVERAGED_KEY] = self.average.network.backbone.state_dict()
        checkpoints.save(content)


def _restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load the optimizer's state. Its settings come from the configuration, not from the checkpoint."""
    groups = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in saved["param_groups"]] != [group["params"] for group in groups]:
        raise ValueError("the optimizer has other parameters")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    # Every optimizer's state has a different form: a step of a copy shows whether this state is valid.
    trial = copy.deepcopy(optimizer)
    for parameter in (parameter for group in trial.param_groups for parameter in group["params"]):
        parameter.grad = torch.zeros_like(parameter)
    try:
        trial.step()
    except Exception as error:
        raise ValueError(f"the optimizer can't continue from its state ({error})") from error
    numbers = [value for state in optimizer.state.values() for value in state.values()]
    moved = [parameter for group in trial.param_groups for parameter in group["params"]]
    if not all(_is_finite(value) for value in (*numbers, *moved)):
        raise ValueError("the optimizer's state holds or leads to numbers that are not finite")


def _restore_method(method: Method, saved: Mapping[str, Tensor], rank: int, device: torch.device) -> None:
    """Load this process's part of the method's state. A process that the saved run did not have starts without one."""
    state = {str(name): rows[rank].to(device) for name, rows in saved.items() if rank < len(rows)}
    if not all(map(_is_finite, state.values())):
        raise ValueError("the state of the method holds numbers that are not finite")
    method.restore_state(state)


def _is_finite(value: object) -> bool:
    """Whether all numbers of a tensor or float are finite; True for anything else, such as None."""
    return not isinstance(value, Tensor | float) or bool(torch.isfinite(torch.as_tensor(value)).all())


def _check_means(saved: Mapping[str, Any]) -> dict[str, list[float]]:
    """Name -> [sum, count], checked."""
    means = {str(name): [_check_figure(value) for value in pair] for name, pair in saved.items()}
    if bad := [name for name, (_, count) in means.items() if count < 0 or not count.is_integer()]:
        raise ValueError(f"the count of {bad[0]} is not a whole number of at least 0")
    return means


def _check_metric(name: str, value: object) -> float:
    figure = _check_figure(value)
    if name.endswith("_pct") and not 0 <= figure <= 100.001:  # sums over processes are rounded
        raise ValueError(f"{name} is {figure:.3g}, which is no percentage")
    return figure


def _check_figure(value: object) -> float:
    figure = number(value)
    if figure is None:
        raise ValueError(f"{value!r} is not a finite number")
    return figure


def _check_count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a number of steps")
    return value
