"""The training loop: one for all methods."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from tenet.distributed import SINGLE_PROCESS, ProcessGroup
from tenet.methods.method import Batch, seed_global_generators
from tenet.run.signals import StopSignals
from tenet.training.accumulation import updates_in_parts
from tenet.training.books import Bookkeeper, MetricsSink
from tenet.training.checkpoint import Checkpoints
from tenet.training.optimizer import GuardedOptimizer
from tenet.training.schedule import Schedule, Span
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState


@runtime_checkable
class Loader(Protocol):
    """Batches of an epoch, from any of its steps; see tenet.data.TrainingLoader."""

    @property
    def steps_per_epoch(self) -> int: ...

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]: ...


def train(
    state: TrainingState,
    *,
    loader: Loader,
    schedule: Schedule,
    settings: TrainingSettings,
    evaluate: Callable[[], dict[str, float]],
    tracker: MetricsSink,
    checkpoints: Checkpoints,
    seed: int,
    process_group: ProcessGroup = SINGLE_PROCESS,
    stop: StopSignals | None = None,
    evaluated_images: tuple[int, int] = (0, 0),
) -> None:
    """Train from `state` (a new one or a checkpoint's, see `TrainingState.restore`), which is changed in place.

    With several processes, each calls this function with its share of the batches; all of them evaluate, and the main
    process tracks. Resuming is exact for the same number of processes, because all randomness is a function of `seed`,
    the step and the rank.

    evaluate: returns metrics to log after an epoch; they are not used for model selection.
    evaluated_images: how many images an evaluation during training predicts, and how many those at the end do. The
        estimate of the time left needs them.

    Raises NonFiniteLossError with the step, the learning rate and the last good checkpoint, and, after writing a
    checkpoint, Preempted or KeyboardInterrupt if `stop` received a signal.
    """
    network, method = state.network, state.method
    total_steps, last_step = settings.count_steps(loader.steps_per_epoch)
    span = Span(total_steps, loader.steps_per_epoch)
    group = state.optimizer.param_groups[0]
    initial_lr = group.setdefault("initial_lr", group["lr"])
    books = Bookkeeper(
        state,
        settings=settings,
        tracker=tracker,
        checkpoints=checkpoints,
        evaluate=evaluate,
        learning_rate=lambda step: initial_lr * schedule(step - 1, span),
        steps_per_epoch=loader.steps_per_epoch,
        last_step=last_step,
        stop=stop,
        process_group=process_group,
        evaluated_images=evaluated_images,
    )
    optimizer = GuardedOptimizer(
        state.optimizer,
        network,
        on_nonfinite=books.on_nonfinite,
        skips=settings.on_nonfinite == "skip",
        clip_norm=settings.clip_norm,
        process_group=process_group,
    )
    parallel = process_group.wrap(network)

    with books.open():
        while state.step < last_step:
            epoch, start = divmod(state.step, loader.steps_per_epoch)
            network.train()
            for batch in loader.epoch(epoch, start=start):
                state.step = batch.step
                optimizer.follow(schedule, batch.step - 1, span)
                seed_global_generators(
                    batch.images.device, seed=seed, step=batch.step, rank=process_group.rank
                )
                for update in updates_in_parts(
                    method, parallel, batch, parts=settings.accumulate, process_group=process_group
                ):
                    optimizer.step(update)
                    state.means.add(update)
                books.after_step(batch)
                if state.step == last_step:
                    break
            books.after_epoch()
