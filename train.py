"""Train a classifier: `python train.py --help`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()  # loading Hydra takes a good part of a second

import logging
import sys
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tenet import distributed
from tenet.config.build import build
from tenet.config.overrides import as_argument
from tenet.config.plugins import used_plugins
from tenet.config.run_config import chosen_options, resolve, resumed_config, run_id, write_config
from tenet.distributed import SINGLE_PROCESS, ProcessGroup, is_main_process
from tenet.entry import run_main
from tenet.errors import ConfigError
from tenet.files.names import AVERAGED_WEIGHTS_FILE, CONFIG_FILE, WEIGHTS_FILE
from tenet.files.paths import shown, user_path
from tenet.run.environment import write_environment
from tenet.run.folder import RunFolder, selection_error
from tenet.run.origin import stamp, write_origin
from tenet.run.resume import explain_how_to_resume, how_to_continue, prepare_to_resume
from tenet.run.signals import StopSignals

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


def main(composed: DictConfig) -> float | None:
    """Train the run that the command line asks for, or take the result of a finished one; return its error."""
    hydra_config = HydraConfig.get()
    if composed.resume is None:
        run_dir = Path(hydra_config.runtime.output_dir)
        config = {**resolve(composed), "choices": chosen_options(hydra_config.runtime.choices)}
    else:
        run_dir = user_path(composed.resume, key="resume")
        config = resumed_config(run_dir, hydra_config.overrides.task)
    if config["tenet"].get("layer") == "?":
        with suppress(OSError):
            run_dir.rmdir()  # Hydra has made both
            run_dir.parent.rmdir()
        if is_main_process():
            from tenet.experiment import Experiment

            Experiment(config).print_cuts()
        return None
    joining = {
        key: config["trainer"][key] for key in ("device", "timeout_minutes") if key in config["trainer"]
    }
    with ExitStack() as stack:
        stack.enter_context(explain_how_to_resume(run_dir))
        stop = stack.enter_context(StopSignals())
        process_group = stack.enter_context(distributed.join(**joining, received=lambda: stop.received))
        check_processes(config["trainer"].get("processes"), started=process_group.size)
        run_dir = Path(process_group.broadcast(str(run_dir)))
        with RunFolder(run_dir) if process_group.is_main_process else nullcontext() as folder:
            result = None
            if folder is not None and composed.resume is None:
                result = folder.take(config)
            if result is not None:
                # A W&B sweep that is repeated after a crash needs the figures of finished runs too.
                tracking = build(config["tracking"], key="tracking")
                tracking.report_finished(run_dir, config=config, run_id=run_id(config))
            result = process_group.broadcast(result)
            if result is not None:
                return result
            return run(config, run_dir, process_group=process_group, stop=stop, folder=folder)


def check_processes(wanted: int | str | None, *, started: int) -> None:
    """Raise ConfigError unless as many processes were started as the run trains in."""
    if isinstance(wanted, int) and wanted != started:
        raise ConfigError(
            f"trainer.processes={wanted}, but {started} started: start {wanted} (torchrun), or give trainer.processes=any, "
            "which changes the figures"
        )


def run(
    config: dict[str, Any],
    run_dir: Path,
    *,
    process_group: ProcessGroup = SINGLE_PROCESS,
    stop: StopSignals | None = None,
    folder: RunFolder | None = None,
) -> float | None:
    """Train what `config` describes in `run_dir`, from its checkpoint if there is one.

    Returns the last error in percent, on the validation set if there is one and otherwise on the test set; None in
    all processes but the main one.
    """
    # If a signal interrupts torch's import of NumPy, torch concludes that NumPy is not installed.
    with (stop or StopSignals()).postponed():
        from tenet.experiment import Experiment
        from tenet.files.weights import holds_weights, save_weights
        from tenet.loading import ModelDescription
        from tenet.training.books import NullTracker
        from tenet.training.checkpoint import Checkpoints

    experiment = Experiment(config, process_group=process_group)
    experiment.check(resumes=Checkpoints(run_dir).newest() is not None)
    files = stamp(experiment.dataset.files())  # before they are read
    checkpoints = experiment.checkpoints(run_dir, check_folder=folder.check if folder else lambda: None)
    state = experiment.restore(checkpoints)
    if not process_group.is_main_process:
        experiment.train(state, checkpoints=checkpoints, tracker=NullTracker(), stop=stop)
        if experiment.splits.validation is not None:
            experiment.held_out.evaluate("test")
        return None

    if state.resumed_at is not None:
        prepare_to_resume(run_dir, step=state.step, last_step=experiment.last_step)
    write_config(config, run_dir / CONFIG_FILE)
    write_origin(run_dir, config, data=checkpoints.data, files=files)
    write_environment(run_dir, processes=process_group.size, plugins=used_plugins(config))
    logger.info("run folder %s, %s", shown(run_dir), experiment.describe())
    resumes = state.resumed_at is not None
    with experiment.tracking.start(run_dir, config=config, run_id=run_id(config), resume=resumes) as tracker:
        experiment.train(state, checkpoints=checkpoints, tracker=tracker, stop=stop)
        figures = dict(state.metrics)
        if experiment.splits.validation is not None:  # otherwise the last evaluation was on the test set
            figures |= experiment.held_out.evaluate("test")
        checkpoints.check_folder()
        weights, backbone = run_dir / WEIGHTS_FILE, experiment.network.backbone
        # Earlier evaluation figures are stale unless the saved weights are identical to these.
        replaced = () if holds_weights(weights, backbone) else ""
        # The weights first, and last those by which a run is known to have finished; then the summary.
        saved = {weights: experiment.network}
        if state.average is not None:
            saved = {run_dir / AVERAGED_WEIGHTS_FILE: state.average.network, **saved}
        for path, network in saved.items():
            description = ModelDescription.from_config(config)._asdict()
            save_weights(network.backbone, path, interface=network.interface, description=description)
        tracker.summarize(figures, instead_of=replaced)
        for kind, paths in {"weights": [*saved], "checkpoint": [checkpoints.last]}.items():
            tracker.log_artifact(kind, paths, metadata={"step": state.step, **figures})
    if state.resumed_at == state.step:
        logger.info("this run had finished already, at step %d", state.step)
    if state.step < experiment.all_steps:
        logger.info(
            "finished at step %d of %d; %s", state.step, experiment.all_steps, how_to_continue(run_dir)
        )
    evaluate = f"python evaluate.py {as_argument('run', shown(run_dir))}"
    precision = f", mAP {figures['test/map_pct']:.2f} %" if "test/map_pct" in figures else ""
    logger.info("test error %.2f %%%s; evaluate: %s", figures["test/error_pct"], precision, evaluate)
    return selection_error(figures)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="train"))
