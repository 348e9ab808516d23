"""What happens around the steps of training: logging, evaluating, checkpointing, and watching the loss."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import product
from typing import Protocol, runtime_checkable

import torch

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.errors import NonFiniteLossError, NonFiniteOutputError
from tenet.files.atomic import sync
from tenet.files.json import finite_or_null, write_json
from tenet.files.names import DIAGNOSIS_FILE, METRICS_FILE
from tenet.methods.method import Batch, Update
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
    """Drops all metrics: another process logs them."""

    def log(self, metrics: Mapping[str, float], *, step: int) -> None: ...

    def rewind(self, step: int) -> None: ...


class Bookkeeper:
    """What happens around the optimizer steps: logging, evaluation, checkpoints, signals, and watching the loss.

    evaluate: returns metrics to log after an epoch; they are not used for model selection.
    learning_rate: step, counted from 1 -> learning rate of the first parameter group.
    evaluated_images: see `train`.
    """

    def __init__(
        self,
        state: TrainingState,
        *,
        settings: TrainingSettings,
        tracker: MetricsSink,
        checkpoints: Checkpoints,
        evaluate: Callable[[], dict[str, float]],
        learning_rate: Callable[[int], float],
        steps_per_epoch: int,
        last_step: int,
        stop: StopSignals | None = None,
        process_group: ProcessGroup = SINGLE_PROCESS,
        evaluated_images: tuple[int, int] = (0, 0),
    ) -> None:
        self.state, self.settings, self.tracker, self.checkpoints = state, settings, tracker, checkpoints
        self.evaluate, self.learning_rate = evaluate, learning_rate
        self.steps_per_epoch, self.last_step = steps_per_epoch, last_step
        self.stop, self.process_group = stop or StopSignals(), process_group
        self.progress = ProgressReport("training", total=last_step, unit="step", done=state.step)
        self.images, self.clock = 0, time.perf_counter()
        self.epoch_of: dict[str, int] = {}  # metric -> the epoch in which this process measured it
        self.evaluated_images = evaluated_images
        self.seconds_per_image: float | None = None  # of the last evaluation
        self.saved_at = time.monotonic()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Show progress and postpone signals; first finish an epoch that the interrupted run did not finish."""
        self.tracker.rewind(self.state.step)
        with self.progress, self.stop.postponed():
            is_at_an_end = self.state.step % self.steps_per_epoch == 0 or self.state.step == self.last_step
            if is_at_an_end and self.state.closed_step < self.state.step:
                self.after_epoch()
            yield

    def after_step(self, batch: Batch) -> None:
        """Update the average of the weights, and log the means every `log_every_steps` and at the last step.

        Write a checkpoint if one is due or a signal has arrived; raise the exception that belongs to the signal.
        """
        step = self.state.step
        if self.state.average is not None:
            self.state.average.update(self.state.network, step=step)
        self.images += len(batch.labels) * self.process_group.size
        is_due = step % self.settings.log_every_steps == 0
        if is_due or step == self.last_step:
            self._log_means()
            if is_due:  # at the last step they are kept: a run that is extended continues them
                self.state.means.reset()
        self.progress.update(step, self._status(), more_s=self.evaluations_left_s())
        signal, save = self.process_group.all_reduce_max(self.stop.received, self._is_checkpoint_due())
        if signal or (save and step % self.steps_per_epoch and step != self.last_step):
            self.save()
        self.stop.adopt(signal)

    def after_epoch(self) -> None:
        """Evaluate if it is due, then write a checkpoint; also where `max_steps` cuts an epoch short."""
        step = self.state.step
        self._raise_if_nonfinite()
        if self._is_evaluated(step):
            metrics: dict[str, float] = {}
            interruption: BaseException | None = None
            started = time.monotonic()
            try:
                # Several processes stop together, between two batches.
                with self.stop.at_once() if self.process_group.size == 1 else nullcontext():
                    metrics = self.evaluate()
            except (KeyboardInterrupt, Preempted) as error:
                interruption = error
            except NonFiniteOutputError as error:
                raise self._nonfinite(f"after a finite loss, {error}", step) from error
            if self.process_group.any(interruption is not None):
                self.save()  # the epoch is not finished: a resumed run begins with its evaluation
                raise interruption or Preempted("a signal to the main process")
            self._note_duration(time.monotonic() - started)
            if step == self.last_step:  # the figure of all images replaces that of a subset
                for name in [name for name in self.state.metrics if "_subset/" in name]:
                    del self.state.metrics[name]
            self._keep(metrics)
            self.checkpoints.check_folder()
            self.tracker.log({"epoch": step / self.steps_per_epoch, **metrics}, step=step)
        self.state.closed_step = step
        self.save()
        self.progress.update(step, self._status(), milestone=True, more_s=self.evaluations_left_s())
        self.images, self.clock = 0, time.perf_counter()

    def save(self) -> None:
        """Write a checkpoint. Raises NonFiniteLossError if loss, gradient or weights are not finite."""
        self._raise_if_nonfinite()
        if bad := not_finite(self.state.network.backbone.state_dict().items()):
            raise self._nonfinite(f"after a finite loss, {', '.join(bad[:3])} is not finite", self.state.step)
        metrics_file = self.checkpoints.last.with_name(METRICS_FILE)
        if self.checkpoints.writes and metrics_file.exists():
            # A run that resumes from this checkpoint does not write these lines again.
            sync(metrics_file)
        self.state.save(self.checkpoints)
        self.saved_at = time.monotonic()

    def _is_evaluated(self, step: int) -> bool:
        return self.settings.is_evaluated(
            step, steps_per_epoch=self.steps_per_epoch, last_step=self.last_step
        )

    def _note_duration(self, seconds: float) -> None:
        """Leave the time of an evaluation out of the time of the steps, and keep its time per image."""
        self.progress.pause(seconds)
        during, at_end = self.evaluated_images
        if images := at_end if self.state.step == self.last_step else during:
            self.seconds_per_image = seconds / images

    def evaluations_left_s(self) -> float:
        """An estimate of the seconds that the remaining evaluations take.

        The time per image is that of the last evaluation; before the first one, a third of that of training.
        """
        step, (during, at_end) = self.state.closed_step, self.evaluated_images
        per_image = self.seconds_per_image
        if per_image is None:
            per_image = 1 / (3 * self.state.metrics.get("speed/images_per_s", 0) or math.inf)
        interval = (self.settings.evaluate_every_epochs or math.inf) * self.steps_per_epoch
        evaluations = (self.last_step - 1) // interval - step // interval
        return per_image * (max(0, evaluations) * during + (step < self.last_step) * at_end)

    def _is_checkpoint_due(self) -> bool:
        steps, minutes = self.settings.checkpoint_every_steps, self.settings.checkpoint_every_minutes
        return (steps is not None and self.state.step % steps == 0) or (
            minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes
        )

    def _means(self) -> dict[str, float]:
        metrics, first_bad = self.state.means.read()
        if first_bad:
            raise self._nonfinite("the loss or its gradient is not finite", first_bad)
        return metrics

    def _raise_if_nonfinite(self) -> None:
        self._means()

    def _log_means(self) -> None:
        step, now = self.state.step, time.perf_counter()
        metrics = self._means()
        metrics["train/learning_rate"] = self.learning_rate(step)
        metrics |= {f"train/{name}": count for name, count in self.state.method.counters().items()}
        if self.settings.on_nonfinite == "skip":
            metrics["train/nonfinite_steps"] = self.state.nonfinite_steps
        speed = {}
        if now > self.clock:  # a clock may stand still
            speed["speed/images_per_s"] = self.images / (now - self.clock)
        self._keep(metrics | speed)
        self.images, self.clock = 0, now
        self.checkpoints.check_folder()
        self.tracker.log({"epoch": step / self.steps_per_epoch, **metrics, **speed}, step=step)

    @property
    def _epoch(self) -> int:
        """The current epoch, or the one that has just ended, counted from 1."""
        return (self.state.step - 1) // self.steps_per_epoch + 1

    def _keep(self, metrics: Mapping[str, float]) -> None:
        self.state.metrics.update(metrics)
        self.epoch_of |= dict.fromkeys(metrics, self._epoch)

    def _status(self) -> str:
        """Such as `epoch 3/8  loss 0.412  error 12.31 %  test error 9.10 % (epoch 2)  1,234 images/s`.

        Training figures appear only if they are of the current epoch; an evaluation of an earlier epoch appears with it.
        """
        metrics = self.state.metrics
        now = {name for name, epoch in self.epoch_of.items() if epoch == self._epoch}
        parts = [f"epoch {self._epoch}/{self.settings.epochs}"]
        if "train/loss" in now:
            parts.append(f"loss {metrics['train/loss']:.3f}")
        if "train/error_pct" in now:
            parts.append(f"error {metrics['train/error_pct']:.2f} %")
        for split, kind, part in product(("validation", "test"), ("", "_ema"), ("", "_subset")):
            name = f"{split}{kind}{part}"
            if (key := f"{name}/error_pct") in self.epoch_of and key in metrics:
                when = "" if key in now else f" (epoch {self.epoch_of[key]})"
                parts.append(f"{name.replace('_', ' ')} error {metrics[key]:.2f} %{when}")
            if (key := f"{name}/corrupted_error_pct") in self.epoch_of and key in metrics:
                parts.append(f"corrupted {metrics[key]:.2f} %")
            if (key := f"{name}/map_pct") in self.epoch_of and key in metrics:
                parts.append(f"mAP {metrics[key]:.2f} %")
        if "speed/images_per_s" in now:
            parts.append(f"{metrics['speed/images_per_s']:,.0f} images/s")
        return "  ".join(parts)

    def on_nonfinite(self, update: Update) -> None:
        """Count an update that was refused because its loss or gradient was not finite.

        Raises NonFiniteLossError unless such steps are skipped, and if more than `max_nonfinite_steps` were.
        """
        what = f"the {update.name} is {update.loss.item():.3g}"
        if torch.isfinite(update.loss):
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
        """The error to raise. Before it is returned, a diagnosis is written into the run folder."""
        good = self.checkpoints.newest()
        diagnosis = self.checkpoints.last.with_name(DIAGNOSIS_FILE)
        rate = self.learning_rate(step)
        more = ""
        if self.checkpoints.writes:
            figures = {**finite_or_null(self.state.metrics), "learning_rate": rate}
            found = {"step": step, "found_at_step": self.state.step, "what": what, "last_metrics": figures}
            with suppress(OSError):  # a full disk must not hide this error
                self.checkpoints.check_folder()
                write_json(diagnosis, {**found, **diagnose(self.state.network.backbone)})
                more = f". More in {diagnosis}"
        return NonFiniteLossError(
            f"step {step}: {what}, at learning rate {rate:.3g}. "
            f"Last good checkpoint: {good or 'none yet'}. Try a lower optimizer.lr, a warm-up "
            "(schedule.warmup_steps), or trainer.on_nonfinite=skip; with trainer.precision=bf16, also fp32"
            f"{more}"
        )
