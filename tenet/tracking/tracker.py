"""What a run reports to while it trains and is evaluated. The local files hold every scalar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tenet.failures import PREEMPTED
from tenet.files.json import Scalars, finite_or_null, read_json, write_json
from tenet.files.names import METRICS_FILE, SUMMARY_FILE
from tenet.run.metrics_file import MetricsFile, read_metrics
from tenet.run.signals import Preempted
from tenet.tracking.wandb_run import WandbRun

# By the value of tracking.artifacts: what is kept in W&B.
ARTIFACT_KINDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "weights": ("weights", "evaluation"),
    "checkpoints": ("weights", "checkpoint", "evaluation"),
}


class Tracker:
    """Takes the metrics of one run; a context manager that marks the run as failed on any exception."""

    def __init__(self, run_dir: Path, *, wandb_run: WandbRun | None = None, artifacts: str = "none") -> None:
        """`wandb_run` is finished with this tracker; None: files alone."""
        self.metrics_file = MetricsFile(run_dir / METRICS_FILE)
        self._summary_path = run_dir / SUMMARY_FILE
        self._wandb_run = wandb_run
        self._artifact_kinds = ARTIFACT_KINDS[artifacts]

    def log(self, metrics: Scalars, *, step: int) -> None:
        """Append one line to the metrics file and one point to each W&B chart."""
        self.metrics_file.write(metrics, step=step)
        if self._wandb_run:
            self._wandb_run.log({"step": step, **metrics})

    def rewind(self, step: int) -> None:
        """Forget what a run that goes on from the checkpoint of `step` will measure again."""
        self.metrics_file.drop_after(step)

    def summarize(self, metrics: Scalars, *, instead_of: str | None = None) -> None:
        """Set the run's final figures, beside those already in `summary.json` (NaN and infinities: null).

        instead_of: older figures whose names begin so are dropped; "" drops all.
        """
        known = read_json(self._summary_path)
        dropped = [] if instead_of is None else [name for name in known if name.startswith(instead_of)]
        kept = {name: value for name, value in known.items() if name not in dropped}
        write_json(self._summary_path, {**kept, **finite_or_null(metrics)})
        if self._wandb_run:
            # W&B would keep the figures of older weights beside these.
            self._wandb_run.summarize({**dict.fromkeys(dropped), **metrics})

    def log_image(self, name: str, path: Path) -> None:
        """Show an image file in W&B."""
        if self._wandb_run:
            self._wandb_run.log_image(name, path)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Show a table in W&B; a column may mix types."""
        if self._wandb_run:
            self._wandb_run.log_table(name, columns, rows)

    def log_artifact(self, kind: str, paths: Sequence[Path], *, metadata: Scalars) -> None:
        """Keep files in W&B as a version of the run's artifact, where `tracking.artifacts` asks for the kind:
        weights, checkpoint or evaluation."""
        if self._wandb_run and kind in self._artifact_kinds:
            self._wandb_run.log_artifact(kind, paths, metadata=metadata)

    def catch_up(self) -> None:
        """Tell a W&B run that is new to the folder what the folder knows."""
        if self._wandb_run:
            if self.metrics_file.path.exists():
                self._wandb_run.log_all(read_metrics(self.metrics_file.path))
            self._wandb_run.summarize(read_json(self._summary_path))

    def finish(self, *, exit_code: int = 0) -> None:
        """Close the W&B run (waits for its upload, but not for ever); harmless a second time."""
        run, self._wandb_run = self._wandb_run, None
        if run:
            run.finish(exit_code=exit_code)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_preempted = kind is not None and issubclass(kind, Preempted)
        self.finish(exit_code=PREEMPTED if is_preempted else int(kind is not None))


@dataclass(frozen=True)
class NoTracking:
    """The files of the run folder, nothing else; the methods are those of `WandbTracking`."""

    def check(self) -> None: ...

    def start(
        self,
        run_dir: Path,
        *,
        config: Mapping[str, Any],
        run_id: str | None = None,
        job_type: str | None = None,
        resume: bool = False,
    ) -> Tracker:
        return Tracker(run_dir)

    def report_finished(self, run_dir: Path, *, config: Mapping[str, Any], run_id: str) -> None: ...
