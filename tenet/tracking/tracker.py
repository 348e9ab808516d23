"""Where a run sends its metrics while it trains and is evaluated. The local files hold every scalar."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenet.evaluation.reports import present_names
from tenet.failures import PREEMPTED
from tenet.files.json import Scalars, finite_or_null, read_json, write_json
from tenet.files.names import METRICS_FILE, SUMMARY_FILE
from tenet.run.metrics_file import MetricsFile, read_metrics
from tenet.run.signals import Preempted
from tenet.tracking.wandb_run import WandbRun

# Value of tracking.artifacts -> the kinds of artifact that W&B keeps.
ARTIFACT_KINDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "weights": ("weights", "evaluation"),
    "checkpoints": ("weights", "checkpoint", "evaluation"),
}


class Tracker:
    """Writes the metrics of one run. As a context manager, it marks the run as failed on any exception."""

    def __init__(
        self,
        run_dir: Path,
        *,
        wandb_run: WandbRun | None = None,
        artifacts: str = "none",
        cells: bool = False,
    ) -> None:
        """`wandb_run` is finished together with this tracker; None: local files only. cells: see `WandbTracking`."""
        self.metrics_file = MetricsFile(run_dir / METRICS_FILE)
        self._summary_path = run_dir / SUMMARY_FILE
        self._wandb_run = wandb_run
        self._artifact_kinds, self._cells = ARTIFACT_KINDS[artifacts], cells

    def log(self, metrics: Scalars, *, step: int) -> None:
        """Append one line to the metrics file and one point to each W&B chart."""
        self.metrics_file.write(metrics, step=step)
        row = {"step": step, **metrics}
        self._send(lambda run: run.log(row))

    def rewind(self, step: int) -> None:
        """Drop the metrics after `step`, which a run resumed from that step's checkpoint measures again."""
        self.metrics_file.drop_after(step)

    def summarize(self, metrics: Scalars, *, instead_of: str | tuple[str, ...] = ()) -> None:
        """Add final figures to `summary.json` (NaN and infinities become null) and to W&B's summary.

        W&B receives figures of single cells only if `cells` is set. instead_of: drop earlier figures whose names start
        with this prefix, or one of these; "" drops all.
        """
        earlier = read_json(self._summary_path)
        kept = {
            name: value for name, value in present_names(earlier).items() if not name.startswith(instead_of)
        }
        write_json(self._summary_path, {**kept, **finite_or_null(metrics)})
        # W&B can't delete figures; None overwrites them. The others are repeated, because `wandb sync` uploads the summary
        # of each offline part as the whole one.
        self._send_summary({**dict.fromkeys(earlier.keys() - kept.keys()), **kept, **metrics})

    def _send_summary(self, figures: Mapping[str, Any]) -> None:
        shown = {name: value for name, value in figures.items() if self._cells or not is_cell(name)}
        self._send(lambda run: run.summary.update(shown))

    def log_image(self, name: str, path: Path) -> None:
        """Show an image file in W&B's summary: a row of the history would move the run's step and runtime."""
        self._send(lambda run: run.summary.update({name: _wandb().Image(str(path))}))

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Show a table in W&B's summary; a column may mix types."""
        table = {"columns": list(columns), "data": [list(row) for row in rows], "allow_mixed_types": True}
        self._send(lambda run: run.summary.update({name: _wandb().Table(**table)}))

    def log_artifact(self, kind: str, paths: Sequence[Path], *, metadata: Scalars) -> None:
        """Store files in W&B as a version of the run's artifact, if `tracking.artifacts` includes `kind`.

        kind: "weights", "checkpoint" or "evaluation".
        """

        def send(run: Any) -> None:
            # W&B's model registry accepts artifacts of type "model" only.
            type_in_wandb = "model" if kind == "weights" else kind
            artifact = _wandb().Artifact(f"{kind}-{run.id}", type=type_in_wandb, metadata=dict(metadata))
            for path in paths:
                artifact.add_file(str(path), skip_cache=True)
            run.log_artifact(artifact)

        if kind in self._artifact_kinds:
            self._send(send)

    def catch_up(self) -> None:
        """Send the folder's earlier metrics and figures to a W&B run that is new to the folder."""
        path = self.metrics_file.path
        rows, summary = read_metrics(path) if path.exists() else [], read_json(self._summary_path)

        def send(run: Any) -> None:
            for row in rows:
                run.log(row)

        self._send(send)  # as one action, because the history may be longer than the queue
        self._send_summary(summary)

    def finish(self, *, exit_code: int = 0) -> None:
        """Close the W&B run, waiting for its upload for a limited time. A second call does nothing."""
        run, self._wandb_run = self._wandb_run, None
        if run:
            run.finish(exit_code=exit_code)

    def _send(self, action: Callable[[Any], object]) -> None:
        if self._wandb_run:
            self._wandb_run.send(action)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_preempted = kind is not None and issubclass(kind, Preempted)
        self.finish(exit_code=PREEMPTED if is_preempted else int(kind is not None))


def is_cell(metric: str) -> bool:
    """Whether a metric is the figure of a single cell, such as corruption/fog/3/error_pct."""
    return metric.count("/") > 2


def _wandb() -> Any:
    import wandb

    return wandb


class Tracking:
    """The base class of the configuration group `tracking`: where runs are tracked. This class: in local files only."""

    def check(self) -> None:
        """Raise ConfigError if `start` would."""

    def start(
        self,
        run_dir: Path,
        *,
        config: Mapping[str, Any],
        run_id: str | None = None,
        job_type: str | None = None,
        resume: bool = False,
    ) -> Tracker:
        """A tracker that writes to `run_dir`.

        run_id: the base of a new W&B run's id. job_type: W&B's, instead of the configured one.
        resume: continue the W&B run that the folder belongs to.
        """
        return Tracker(run_dir)

    def report_finished(self, run_dir: Path, *, config: Mapping[str, Any], run_id: str) -> None:
        """Report the figures of a run that finished earlier, if a sweep's agent asks for them."""


class NoTracking(Tracking):
    """Local files only."""
