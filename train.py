"""Train a classifier: `python train.py --help`."""

import logging
import math
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tenet import config as configuration
from tenet import distributed
from tenet.entry import run_main
from tenet.errors import ConfigError, UserError
from tenet.run_folder import RunFolder, headline
from tenet.stopping import Preempted, StopSignals

CONFIG_DIR = Path(__file__).resolve().parent / "conf"
logger = logging.getLogger("tenet")


@hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="train")
def main(composed: DictConfig) -> float:
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    if composed.resume is not None:
        run_dir = Path(composed.resume)
        config = configuration.resumed_config(run_dir, hydra_config.overrides.task)
    else:
        config = configuration.resolve(composed)
        if hydra_config.mode == RunMode.MULTIRUN and config["tracking"].get("group", "") is None:
            # The jobs of one multirun stand together in W&B.
            config["tracking"]["group"] = " ".join(hydra_config.overrides.task[:4])
    try:
        with StopSignals() as stop, distributed.join(config["trainer"]["device"]) as team:
            run_dir = Path(team.agree(str(run_dir)))
            with RunFolder(run_dir) if team.is_first else nullcontext() as folder:
                result = None if folder is None or composed.resume is not None else folder.take(config)
                result = team.agree(result)
                return run(config, run_dir, team=team, stop=stop) if result is None else result
    except (KeyboardInterrupt, Preempted) as signal:
        why = "interrupted" if isinstance(signal, KeyboardInterrupt) else f"stopped by {signal}"
        again = configuration.as_argument("resume", run_dir)
        logger.info("%s; go on: python train.py %s", why, again)
        raise
    except UserError:
        if distributed.is_first():
            with suppress(OSError):
                run_dir.rmdir()  # what was refused at once leaves no empty folder behind
        raise


def run(
    config: dict[str, Any],
    run_dir: Path,
    *,
    team: distributed.Team = distributed.ALONE,
    stop: StopSignals | None = None,
) -> float:
    """Build what `config` names, train it in `run_dir`, from its checkpoint if there is one, and return its
    last error in percent (on the validation set if there is one, else on the test set; NaN in the processes
    of a team that only help)."""
    import torch

    from tenet.bookkeeping import Unheard
    from tenet.checkpoint import Checkpoints, save_weights
    from tenet.data import TrainingLoader
    from tenet.evaluation import Classifier
    from tenet.randomness import derive_seed
    from tenet.training import pick_device, train
    from tenet.training_settings import TrainingSettings

    build = configuration.build
    settings: TrainingSettings = build(config["trainer"], key="trainer")
    device = pick_device(settings.device)
    checkpoints = Checkpoints(run_dir, writes=team.is_first)

    # All that can be refused is refused here, before any data is read.
    dataset = build(config["dataset"], key="dataset")
    inhibition = build(config["tenet"], key="tenet")
    augmentation = build(config["augment"], key="augment")
    schedule = build(config["schedule"], key="schedule")
    tracking = build(config["tracking"], key="tracking")
    with torch.device("meta"):
        outline = build(config["backbone"], num_classes=2, key="backbone")
    if inhibition is not None:
        with configuration.naming("tenet"):
            inhibition.check(outline, (3, 32, 32))
    build(config["optimizer"], outline.parameters(), key="optimizer")

    if settings.batch_size < team.size:
        raise ConfigError(
            f"trainer.batch_size={settings.batch_size} is shared by {team.size} processes; raise it"
        )
    with team.one_by_one():
        splits = dataset.load()
    torch.manual_seed(derive_seed(config["seed"], "initialisation"))
    model = build(config["backbone"], num_classes=len(splits.classes), key="backbone").to(device)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
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
        seed=config["seed"],
        team=team,
        stop=stop,
    )
    if not team.is_first:
        fit(evaluate=dict, tracker=Unheard())
        return math.nan
    configuration.write_config(config, run_dir / configuration.CONFIG_FILE)
    height, width = splits.train.images.shape[1:3]
    where = f"{device} in {team.size} processes" if team.size > 1 else str(device)
    logger.info(
        "run folder %s, %s, %d training images %dx%d in %d classes",
        run_dir, where, len(splits.train.labels), height, width, len(splits.classes),
    )  # fmt: skip
    last_step = min(settings.epochs * loader.steps_per_epoch, settings.max_steps or sys.maxsize)
    if inhibition is not None and inhibition.start_step > last_step:
        logger.warning(
            "tenet.start_step=%d lies beyond the run's last step, %d: all of it will be plain training",
            inhibition.start_step, last_step,
        )  # fmt: skip
    resume = checkpoints.newest() is not None
    with tracking.start(run_dir, config=config, resume=resume) as tracker:
        result = fit(
            evaluate=lambda: {
                f"{name}/error_pct": classifier.error_pct(*split) for name, split in held_out.items()
            },
            tracker=tracker,
        )
        final = {**result.metrics, "test/error_pct": classifier.error_pct(*test)}
        # An older evaluation was of other weights.
        tracker.summarize(final, instead_of="" if result.steps > result.resumed_at else None)
    save_weights(model, run_dir / "weights.safetensors")
    if result.resumed_at == result.steps:
        logger.info("this run had finished already, at step %d", result.steps)
    if result.steps < result.total_steps:
        again = configuration.as_argument("resume", run_dir)
        stopped = "stopped at step %d of %d; go on: python train.py %s trainer.max_steps=null"
        logger.info(stopped, result.steps, result.total_steps, again)
    evaluate = f"python evaluate.py {configuration.as_argument('run', run_dir)}"
    logger.info("test error %.2f %%; evaluate: %s", final["test/error_pct"], evaluate)
    return headline(final)


if __name__ == "__main__":
    sys.exit(run_main(main, config_dir=CONFIG_DIR, config_name="train"))
