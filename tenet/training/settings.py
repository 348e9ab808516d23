"""The settings of the `trainer` group."""

from dataclasses import dataclass
from typing import Annotated, Literal

from tenet.errors import ConfigError
from tenet.rules import above, at_least, check_arguments


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of a training run.

    device: auto (CUDA if there is a device, otherwise the CPU), cpu or cuda.
    precision: fp32, or bf16 (autocast). channels_last: memory format of weights and images.
    compile: compile the network with torch.compile during the first steps; results then differ by rounding.
    deterministic: on CUDA, give the same bits every time, which is slower; CPUs always do.
    schedule_epochs: the epochs that the learning-rate schedule spans; None: all. Beyond them the learning rate stays at its
        last value. A run that is resumed with more `epochs` keeps the schedule that it began with.
    max_steps: stop after this many iterations; the schedule does not depend on it.
    batch_size, evaluation_batch_size: images; with torchrun, of all processes together.
    processes: how many train together; None stands for the number that was started, and becomes that number in a run's
        configuration. "any": the run may continue with another number, although the figures then differ.
    timeout_minutes: how long a process waits for the others, at the start and whenever they communicate.
    sync_batchnorm: normalise over the samples of all processes, on CUDA devices.
    accumulate: compute each update in this many parts, one after another, which takes less memory. The update is still
        that of the whole `batch_size`, except that BatchNorm normalises each part separately.
    clip_norm: a gradient with a larger norm is scaled down to this norm; None: no limit.
    evaluate_every_epochs: None: only at the end. evaluate_images: an evaluation before the last one measures this many
        of the validation or test images, evenly spaced; the last one always measures all of them.
    checkpoint_every_steps, checkpoint_every_minutes: within an epoch; at its end, a checkpoint is always written.
    on_nonfinite: stop, or skip: a step whose loss or gradient is not finite then changes nothing. A run skips at most
        `max_nonfinite_steps` steps, and the host waits for the gradient of every step.

    Raises ValueError for a value that its annotation does not allow, and ConfigError for compile with deterministic and for
    accumulate with sync_batchnorm.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    epochs: Annotated[int, at_least(1)] = 200
    schedule_epochs: Annotated[int, at_least(1)] | None = None
    max_steps: Annotated[int, at_least(1)] | None = None
    batch_size: Annotated[int, at_least(1)] = 256
    evaluation_batch_size: Annotated[int, at_least(1)] = 1000
    processes: Annotated[int, at_least(1)] | Literal["any"] | None = None
    timeout_minutes: Annotated[int | float, above(0)] = 30.0
    sync_batchnorm: bool = False
    accumulate: Annotated[int, at_least(1)] = 1
    clip_norm: Annotated[float, above(0)] | None = None
    log_every_steps: Annotated[int, at_least(1)] = 50
    evaluate_every_epochs: Annotated[int, at_least(1)] | None = 1
    evaluate_images: Annotated[int, at_least(1)] | None = None
    checkpoint_every_steps: Annotated[int, at_least(1)] | None = None
    checkpoint_every_minutes: Annotated[float, above(0)] | None = 10.0
    on_nonfinite: Literal["stop", "skip"] = "stop"
    max_nonfinite_steps: Annotated[int, at_least(0)] = 10

    def count_steps(self, steps_per_epoch: int) -> tuple[int, int]:
        """The steps that the schedule spans, and the step at which the run ends."""
        end = self.epochs * steps_per_epoch
        return (self.schedule_epochs or self.epochs) * steps_per_epoch, min(end, self.max_steps or end)

    def is_evaluated(self, step: int, *, steps_per_epoch: int, last_step: int) -> bool:
        """Whether an evaluation follows the step `step`, which ends an epoch or the run."""
        every = self.evaluate_every_epochs
        return step == last_step or (every is not None and step % (every * steps_per_epoch) == 0)

    def __post_init__(self) -> None:
        check_arguments(TrainingSettings.__init__, vars(self))
        if self.sync_batchnorm and self.accumulate > 1:
            # The processes would have to compute equal numbers of parts, also of an epoch's last batch.
            raise ConfigError("trainer.sync_batchnorm=true needs whole batches; leave out trainer.accumulate")
        if self.compile and self.deterministic:
            # Which kernels are compiled, and so the rounding, depends on the batch sizes that come first.
            raise ConfigError(
                "trainer.compile=true does not give the same bits every time; leave out trainer.compile or "
                "trainer.deterministic"
            )
