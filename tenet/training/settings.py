"""How long and in what form to train: the `trainer` group."""

from dataclasses import dataclass

from tenet.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long and in what form to train.

    device: auto (CUDA where there is one), cpu or cuda. precision: fp32, or bf16 (autocast).
    max_steps: stop after so many iterations; the schedule still spans all `epochs`.
    batch_size, evaluation_batch_size: images; under torchrun of all processes together.
    channels_last: memory format of model and images.
    compile: by torch.compile, stage by stage, within the first steps; results differ by rounding.
    deterministic: on CUDA too the same run gives the same bits, more slowly; CPUs do anyway.
    checkpoint_every_steps, checkpoint_every_minutes: within an epoch; at its end there is always one.
    on_nonfinite: stop, or skip: a step whose loss or gradient is not finite leaves everything as it was, for
    at most max_nonfinite_steps steps of a run; the host waits for every step's gradient then.
    """

    device: str = "auto"
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    epochs: int = 200
    max_steps: int | None = None
    batch_size: int = 256
    evaluation_batch_size: int = 1000
    log_every_steps: int = 50
    evaluate_every_epochs: int = 1
    checkpoint_every_steps: int | None = None
    checkpoint_every_minutes: float | None = 10.0
    on_nonfinite: str = "stop"
    max_nonfinite_steps: int = 10

    def __post_init__(self) -> None:
        if self.on_nonfinite not in ("stop", "skip"):
            raise ConfigError(f"trainer.on_nonfinite={self.on_nonfinite} is none of stop, skip")
        if self.compile and self.deterministic:
            # Which sizes of batches are compiled depends on which come first, and so does the rounding.
            raise ConfigError(
                "trainer.compile=true rounds by what was compiled; choose it or trainer.deterministic=true"
            )
