"""What happens around the steps of training: logging, evaluating, checkpointing, and watching the loss."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenet.errors import NonFiniteLossError, NonFiniteOutputError
from tenet.files.atomic import sync
from tenet.files.json import finite_or_null, write_json
from tenet.files.names import DIAGNOSIS_FILE, METRICS_FILE
from tenet.inhibition import NonFiniteFeaturesError
from tenet.run.progress import ProgressReport
from tenet.run.signals import Preempted, StopSignals
from tenet.training.checkpoint import Checkpoints
from tenet.training.diagnosis import diagnose, not_finite
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState


@runtime_checkable
class MetricsSink(Protocol):
    """Where metrics go; `step` counts iterations from 1."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None: ...

    def rewind(self, step: int) -> None: ...


class NullTracker:
    """Metrics that another process of the team logs already."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None: ...

    def rewind(self, step: int) -> None: ...


class Bookkeeper:
    """Called by the training loop after each step and each epoch.

    learning_rate: of the first parameter group at a step counted from 1.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        state: TrainingState,
        settings: TrainingSettings,
        tracker: MetricsSink,
        checkpoints: Checkpoints,
        evaluate: Callable[[], dict[str, float]],
        stop: StopSignals,
        learning_rate: Callable[[int], float],
        steps_per_epoch: int,
        last_step: int,
    ) -> None:
        self.model, self.optimizer, self.state, self.settings = model, optimizer, state, settings
        self.tracker, self.checkpoints, self.evaluate, self.stop = tracker, checkpoints, evaluate, stop
        self.learning_rate = learning_rate
        self.steps_per_epoch, self.last_step = steps_per_epoch, last_step
        self.images, self.clock = 0, time.perf_counter()
        self.saved_at = time.monotonic()

    def after_step(self, progress: ProgressReport, *, images: int) -> None:
        """Log the window's means every `log_every_steps` and at the last step; write a checkpoint where one is
        due, and where a signal asks to stop. Raises what the signal asks for."""
        step = self.state.step
        self.images += images
        is_due = step % self.settings.log_every_steps == 0
        if is_due or step == self.last_step:
            self._log_window()
            if is_due:
                self.state.window.reset()
        progress.update(step, self._status())
        signal, save = self.state.window.team.all_reduce_max(self.stop.received, self._is_checkpoint_due())
        if signal or (save and step % self.steps_per_epoch and step != self.last_step):
            self.save()
        if signal:
            self.stop.received = signal
            self.stop.check()

    def after_epoch(self, progress: ProgressReport) -> None:
        """Evaluate if it is due, then write a checkpoint; also where `max_steps` cuts an epoch short."""
        step = self.state.step
        # No checkpoint of a run that is lost already.
        self._means()
        epoch = step // self.steps_per_epoch
        if step == self.last_step or epoch % self.settings.evaluate_every_epochs == 0:
            try:
                with self.stop.at_once():
                    metrics = self.evaluate()
            except (KeyboardInterrupt, Preempted):
                # The epoch stays open: going on begins with its evaluation.
                self.save()
                raise
            except NonFiniteOutputError as error:
                raise self._nonfinite(f"after a finite loss, {error}", step) from error
            self.state.metrics.update(metrics)
            self.tracker.log({"epoch": step / self.steps_per_epoch, **metrics}, step=step)
        self.state.closed_step = step
        self.save()
        progress.update(step, self._status(), milestone=True)
        self.images, self.clock = 0, time.perf_counter()

    def save(self) -> None:
        """Write a checkpoint. Raises NonFiniteLossError if the run is lost already."""
        self._means()
        if bad := not_finite(self.model.state_dict().items()):
            raise self._nonfinite(f"after a finite loss, {', '.join(bad[:3])} is not finite", self.state.step)
        metrics_file = self.checkpoints.last.with_name(METRICS_FILE)
        if self.checkpoints.writes and metrics_file.exists():
            # A run that goes on from here writes none of these lines again.
            sync(metrics_file)
        self.state.save(self.model, self.optimizer, self.checkpoints)
        self.saved_at = time.monotonic()

    def _is_checkpoint_due(self) -> bool:
        steps, minutes = self.settings.checkpoint_every_steps, self.settings.checkpoint_every_minutes
        return (steps is not None and self.state.step % steps == 0) or (
            minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        )

    def _means(self) -> dict[str, float]:
        metrics, first_bad = self.state.window.read()
        if first_bad:
            raise self._nonfinite("the loss or its gradient is not finite", first_bad)
        return metrics

    def _log_window(self) -> None:
        step, now = self.state.step, time.perf_counter()
        metrics = self._means()
        metrics["train/learning_rate"] = self.learning_rate(step)
        metrics["train/inhibited_steps"] = self.state.inhibited_steps
        metrics["train/skipped_steps"] = self.state.skipped_steps
        if self.settings.on_nonfinite == "skip":
            metrics["train/nonfinite_steps"] = self.state.nonfinite_steps
        self.state.metrics.update(metrics)
        speed = self.images / max(now - self.clock, 1e-9)
        self.state.metrics["speed/images_per_s"] = speed
        self.images, self.clock = 0, now
        self.tracker.log(
            {"epoch": step / self.steps_per_epoch, **metrics, "speed/images_per_s": speed}, step=step
        )

    def _status(self) -> str:
        """Such as `epoch 3/8  loss 0.412  error 12.31 %  test 9.10 %  1,234 images/s`."""
        metrics = self.state.metrics
        epochs = self.settings.epochs
        epoch = min(epochs, (self.state.step - 1) // self.steps_per_epoch + 1)
        parts = [f"epoch {epoch}/{epochs}"]
        if "train/loss" in metrics:
            parts += [f"loss {metrics['train/loss']:.3f}", f"error {metrics['train/error_pct']:.2f} %"]
        for split in ("validation", "test"):
            if f"{split}/error_pct" in metrics:
                parts.append(f"{split} error {metrics[f'{split}/error_pct']:.2f} %")
        if "speed/images_per_s" in metrics:
            parts.append(f"{metrics['speed/images_per_s']:,.0f} images/s")
        return "  ".join(parts)

    @contextmanager
    def watching_features(self) -> Iterator[None]:
        """Turn the method's refusal of non-finite features into the error that names the step."""
        try:
            yield
        except NonFiniteFeaturesError as error:
            raise self._nonfinite(f"after a finite loss, {error}", self.state.step) from error

    def refuse(self, name: str, loss: Tensor) -> None:
        """Count a step that a non-finite loss or gradient left without effect. Raises NonFiniteLossError unless
        such steps are skipped, and beyond `max_nonfinite_steps`."""
        what = f"the {name} is {loss.item():.3g}"
        if torch.isfinite(loss):
            what += " and its gradient is not finite"
        self.state.nonfinite_steps += 1
        if self.settings.on_nonfinite == "stop":
            raise self._nonfinite(what, self.state.step)
        limit = self.settings.max_nonfinite_steps
        if self.state.nonfinite_steps > limit:
            raise self._nonfinite(
                f"{what}; {limit} such steps were skipped before (trainer.max_nonfinite_steps)",
                self.state.step,
            )

    def _nonfinite(self, what: str, step: int) -> NonFiniteLossError:
        """The error, after everything that helps to see why is written into the run folder."""
        good = self.checkpoints.newest()
        diagnosis = self.checkpoints.last.with_name(DIAGNOSIS_FILE)
        rate = self.learning_rate(step)
        more = ""
        if self.checkpoints.writes:
            figures = {**finite_or_null(self.state.metrics), "learning_rate": rate}
            found = {"step": step, "found_at_step": self.state.step, "what": what, "last_metrics": figures}
            with suppress(OSError):  # a full disk is not what this run ends of
                write_json(diagnosis, {**found, **diagnose(self.model)})
                more = f". More in {diagnosis}"
        return NonFiniteLossError(
            f"step {step}: {what}, at learning rate {rate:.3g}. "
            f"Last good checkpoint: {good or 'none yet'}. Try a lower optimizer.lr, a warm-up "
            "(schedule.warmup_steps), or trainer.on_nonfinite=skip; with trainer.precision=bf16, also fp32"
            f"{more}"
        )
