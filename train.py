"""Train a classifier: `python train.py --help`."""

if __name__ == "__main__":
    from tenet.run.signals import exit_when_stopped

    exit_when_stopped()  # loading Hydra takes a good part of a second

import logging
import math
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tenet import distributed
from tenet.config.build import build, prefix_errors
from tenet.config.run_config import as_argument, resolve, resumed_config, run_id, write_config
from tenet.entry import run_main
from tenet.errors import ConfigError, UserError
from tenet.files.atomic import remove_leftovers
from tenet.files.names import CONFIG_FILE, SUMMARY_FILE, WEIGHTS_FILE
from tenet.run.folder import RunFolder
from tenet.run.signals import Preempted, StopSignals
from tenet.run.summary import selection_error

if TYPE_CHECKING:
    from tenet.data import Splits

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


def main(composed: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    if composed.resume is not None:
        run_dir = Path(composed.resume)
        config = resumed_config(run_dir, hydra_config.overrides.task)
    else:
        config = resolve(composed)
    try:
        with StopSignals() as stop, distributed.join(config["trainer"].get("device", "auto")) as team:
            run_dir = Path(team.broadcast(str(run_dir)))
            with RunFolder(run_dir) if team.is_main_process else nullcontext() as folder:
                result = None
                if folder is not None:
                    remove_leftovers(run_dir)
                    result = folder.take(config) if composed.resume is None else None
                if result is not None:
                    # A sweep that is repeated after a crash waits for the figures of this run too.
                    tracking = build(config["tracking"], key="tracking")
                    tracking.report_finished(run_dir, config=config, run_id=run_id(config))
                result = team.broadcast(result)
                return run(config, run_dir, team=team, stop=stop) if result is None else result
    except (KeyboardInterrupt, Preempted) as signal:
        why = "interrupted" if isinstance(signal, KeyboardInterrupt) else f"stopped by {signal}"
        is_there = (run_dir / CONFIG_FILE).exists()
        again = f"python train.py {as_argument('resume', run_dir)}" if is_there else "the same command"
        logger.info("%s; go on: %s", why, again)
        raise
    except UserError:
        if distributed.is_main_process():
            with suppress(OSError):
                run_dir.rmdir()  # what was refused at once leaves no empty folder behind
        raise


def run(
    config: dict[str, Any],
    run_dir: Path,
    *,
    team: distributed.ProcessGroup = distributed.ALONE,
    stop: StopSignals | None = None,
) -> float:
    """Build what `config` names, train it in `run_dir`, from its checkpoint if there is one, and return its
    last error in percent (on the validation set if there is one, else on the test set; NaN in the processes
    of a team that only help)."""
    # Torch takes whatever interrupts its import of NumPy for a NumPy that is missing, and goes on with half of it.
    with (stop or StopSignals()).postponed():
        import torch

    from tenet.data import TrainingLoader
    from tenet.device import pick_device, set_determinism
    from tenet.evaluation.classifier import Classifier
    from tenet.experiment import build_network, build_on_meta
    from tenet.files.weights import holds_weights, save_weights
    from tenet.randomness import derive_seed
    from tenet.run.environment import write_environment
    from tenet.training.books import NullTracker
    from tenet.training.checkpoint import Checkpoints
    from tenet.training.loop import find_min_batch_size, prepare, train, try_optimizer
    from tenet.training.settings import TrainingSettings
    from tenet.training.state import TrainingState

    settings: TrainingSettings = build(config["trainer"], key="trainer")
    set_determinism(settings.deterministic)  # before anything starts CUDA
    device = pick_device(settings.device, key="trainer.device")

    # All that can be refused is refused here, before any data is read.
    dataset = build(config["dataset"], key="dataset")
    inhibition = build(config["tenet"], key="tenet")
    augmentation = build(config["augment"], key="augment")
    if settings.compile and device.type == "cuda":
        augmentation.compile()  # on a CPU it takes longer so (docs/performance.md)
    schedule = build(config["schedule"], key="schedule")
    tracking = build(config["tracking"], key="tracking")
    tracking.check()
    outline = build_on_meta(config["backbone"])
    if inhibition is not None:
        with prefix_errors("tenet"):
            inhibition.check(outline, (3, 32, 32))
    with prefix_errors("optimizer"):
        try_optimizer(partial(build, config["optimizer"], key="optimizer"), device)

    if settings.batch_size < team.size:
        raise ConfigError(
            f"trainer.batch_size={settings.batch_size} is shared by {team.size} processes; raise it"
        )
    with team.rank_zero_first():
        splits = dataset.load()
    torch.manual_seed(derive_seed(config["seed"], "initialisation"))
    network = build_network(config["backbone"], num_classes=len(splits.classes)).to(device)
    model = prepare(network, settings, processes=team.size)
    optimizer = build(config["optimizer"], model.parameters(), key="optimizer")
    loader = TrainingLoader(
        splits.train.to(device),
        augmentation=augmentation,
        normalization=dataset.normalization,
        batch_size=settings.batch_size,
        seed=config["seed"],
        rank=team.rank,
        processes=team.size,
    )
    classifier = Classifier(
        model,
        dataset.normalization,
        settings.evaluation_batch_size,
        settings.precision,
        settings.channels_last,
    )
    height, width = splits.train.images.shape[1:3]
    min_batch_size = find_min_batch_size(outline, (3, height, width))
    last_batch = loader.samples_per_epoch % settings.batch_size or settings.batch_size
    if max(1, last_batch // team.size) < min_batch_size:
        raise ConfigError(
            f"trainer.batch_size={settings.batch_size}: of an epoch of {loader.samples_per_epoch} images it leaves "
            "a batch of one, whose 1x1 maps have no deviation to normalise by; choose another"
        )
    checkpoints = Checkpoints(run_dir, writes=team.is_main_process, data=fingerprints(splits))
    test = splits.test.to(device)
    held_out = {"test": test} if splits.validation is None else {"validation": splits.validation.to(device)}

    fit = partial(
        train,
        model,
        loader=loader,
        inhibition=inhibition,
        optimizer=optimizer,
        schedule=schedule,
        settings=settings,
        checkpoints=checkpoints,
        min_batch_size=min_batch_size,
        seed=config["seed"],
        team=team,
        stop=stop,
    )
    if not team.is_main_process:
        fit(evaluate=dict, tracker=NullTracker())
        return math.nan
    last_step = min(settings.epochs * loader.steps_per_epoch, settings.max_steps or sys.maxsize)
    saved = checkpoints.find()
    if saved is not None:
        # What does not fit is refused before anything of the folder is changed.
        TrainingState.restore(model, optimizer, checkpoints)
        prepare_to_go_on(run_dir, step=saved.content.get("step", 0), last_step=last_step)
    write_config(config, run_dir / CONFIG_FILE)
    where = f"{device} in {team.size} processes" if team.size > 1 else str(device)
    logger.info(
        "run folder %s, %s, %d training images %dx%d in %d classes",
        run_dir, where, len(splits.train.labels), height, width, len(splits.classes),
    )  # fmt: skip
    if inhibition is not None and inhibition.start_step > last_step:
        logger.warning(
            "tenet.start_step=%d lies beyond the run's last step, %d: all of it will be plain training",
            inhibition.start_step, last_step,
        )  # fmt: skip
    write_environment(run_dir)
    identifier = run_id(config)
    with tracking.start(run_dir, config=config, run_id=identifier, resume=saved is not None) as tracker:
        result = fit(
            evaluate=lambda: {
                f"{name}/error_pct": classifier.error_pct(*split) for name, split in held_out.items()
            },
            tracker=tracker,
        )
        final = {**result.metrics, "test/error_pct": classifier.error_pct(*test)}
        weights = run_dir / WEIGHTS_FILE
        # An older evaluation was of other weights, unless those that are there are these.
        instead_of = None if holds_weights(weights, model) else ""
        # The weights first: the summary says that the run has finished.
        save_weights(model, weights)
        tracker.summarize(final, instead_of=instead_of)
        for kind, path in {"weights": weights, "checkpoint": checkpoints.last}.items():
            tracker.log_artifact(kind, [path], metadata={"step": result.steps, **final})
    if result.resumed_at == result.steps:
        logger.info("this run had finished already, at step %d", result.steps)
    if result.steps < result.total_steps:
        again = as_argument("resume", run_dir)
        stopped = "stopped at step %d of %d; go on: python train.py %s trainer.max_steps=null"
        logger.info(stopped, result.steps, result.total_steps, again)
    evaluate = f"python evaluate.py {as_argument('run', run_dir)}"
    logger.info("test error %.2f %%; evaluate: %s", final["test/error_pct"], evaluate)
    return selection_error(final)


def fingerprints(splits: "Splits") -> dict[str, str]:
    """By the parts of the data set, what changes when an image or a label does."""
    from tenet.files.weights import fingerprint

    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: fingerprint(*part) for name, part in parts.items() if part is not None}


def prepare_to_go_on(run_dir: Path, *, step: int, last_step: int) -> None:
    """Before a run goes on from the checkpoint of `step`: remove what says that it has finished, which the
    checkpoint holds all the same. Raises ConfigError if the run is beyond its new end already."""
    if step > last_step:
        raise ConfigError(
            f"{run_dir} is at step {step} already, beyond step {last_step}, where it would end; raise "
            "trainer.epochs or trainer.max_steps"
        )
    if step < last_step:
        for name in (SUMMARY_FILE, WEIGHTS_FILE):
            (run_dir / name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="train"))
