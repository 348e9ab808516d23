"""The training loop: the nine steps of the method, in their order."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tenet.distributed import ALONE, ProcessGroup
from tenet.inhibition import InhibitedStep, Inhibition, MaskableForward
from tenet.randomness import make_generator
from tenet.run.progress import ProgressReport
from tenet.run.signals import StopSignals
from tenet.training.books import Bookkeeper, MetricsSink
from tenet.training.checkpoint import Checkpoints
from tenet.training.optimizer import Guard
from tenet.training.schedule import Schedule
from tenet.training.settings import TrainingSettings
from tenet.training.state import TrainingState


@runtime_checkable
class Loader(Protocol):
    """Batches of an epoch, from any of its steps; see tenet.data.TrainingLoader."""

    @property
    def steps_per_epoch(self) -> int: ...

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]: ...


class TrainingResult(NamedTuple):
    """steps: iterations done, of total_steps, the first resumed_at of them before. metrics: the last of each."""

    steps: int
    total_steps: int
    resumed_at: int
    inhibited_steps: int
    skipped_steps: int
    metrics: dict[str, float]


def find_min_batch_size(outline: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """How many samples a step of a network on the meta device needs: 2 where BatchNorm meets maps of 1x1, of
    which one sample has no deviation, else 1."""
    was_training = outline.training
    outline.train()
    try:
        outline(torch.zeros(1, *image_shape, device="meta"))
    except ValueError:
        return 2
    finally:
        outline.train(was_training)
    return 1


def try_optimizer(build: Callable[[list[Tensor]], Optimizer], device: torch.device) -> None:
    """Raise ValueError unless the optimizer can take a step as the training loop does, on this device."""
    parameter = torch.zeros(2, 2, device=device, requires_grad=True)
    optimizer = build([parameter])
    parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:  # each has its own way to refuse: TypeError, RuntimeError, AssertionError, ...
        raise ValueError(f"it can't take a step ({str(error).splitlines()[0]})") from error


def prepare(model: nn.Module, settings: TrainingSettings, *, processes: int = 1) -> nn.Module:
    """The model in the memory format, and compiled, as the settings say, for one of `processes` that share
    each batch."""
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.compile:
        compile_stages(model, batch_size=settings.batch_size // processes)
    return model


def compile_stages(model: nn.Module, *, batch_size: int, backend: str = "inductor") -> None:
    """Compile the stages and the head of a backbone in place, each as one graph; cuts and the names of weights
    stay as they are.

    Batches of `batch_size`, those of plain steps, have a form of their own; inhibited steps, whose batches all
    differ in size, another.
    """
    import torch._dynamo

    # Stages of the same code in other shapes and modes count as recompilations of one function.
    # (This name of the limit is old and new versions of torch's alike.)
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
    for module in (*model.stages, model.head):  # type: ignore[misc]
        module._compiled_call_impl = _compile_in_two_forms(module, batch_size=batch_size, backend=backend)


def _compile_in_two_forms(module: nn.Module, *, batch_size: int, backend: str) -> Callable[[Tensor], Tensor]:
    # Functions of ours around the call, since of torch's own containers the compiler takes only the parts; and
    # two, since of the forms of one function it prefers the newest, which would serve all sizes from then on.
    def call(features: Tensor) -> Tensor:
        return module._call_impl(features)

    def call_any_size(features: Tensor) -> Tensor:
        return module._call_impl(features)

    fixed = torch.compile(call, dynamic=False, backend=backend)
    varying = torch.compile(call_any_size, backend=backend)

    def choose(features: Tensor) -> Tensor:
        if len(features) == batch_size:
            return fixed(features)
        torch._dynamo.maybe_mark_dynamic(features, 0)
        return varying(features)

    return choose


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """fp32: no autocast; bf16: bfloat16 where it is safe."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class HostCopy:
    """A tensor on its way to the host, which so waits for what gave the tensor and not for what is asked of the
    device after it."""

    def __init__(self, tensor: Tensor) -> None:
        self.copy, self.arrival = tensor, None
        if tensor.is_cuda:
            self.copy = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self.copy.copy_(tensor, non_blocking=True)
            self.arrival = torch.cuda.Event()
            self.arrival.record()

    def read(self) -> Tensor:
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.copy


def train(
    model: nn.Module,
    *,
    loader: Loader,
    inhibition: Inhibition | None,
    optimizer: Optimizer,
    schedule: Schedule,
    settings: TrainingSettings,
    evaluate: Callable[[], dict[str, float]],
    tracker: MetricsSink,
    checkpoints: Checkpoints,
    seed: int,
    team: ProcessGroup = ALONE,
    stop: StopSignals | None = None,
    min_batch_size: int = 1,
) -> TrainingResult:
    """Train `model` in place, from its last checkpoint if there is one; inhibition None is plain training.

    `evaluate` gives metrics to log after an epoch; nothing is selected by them. Resuming is exact: all
    randomness is a function of `seed` and the step. Of a `team` each process calls this with its share of
    the batches; what one of them alone should do (evaluate, write) is for the caller to give to it alone.
    min_batch_size: an inhibited step needs so many right ones; see `find_min_batch_size`.
    Raises NonFiniteLossError with the step, the learning rate and the last good checkpoint, and, after a
    checkpoint, Preempted or KeyboardInterrupt where `stop` received a signal.
    """
    device = next(model.parameters()).device
    state = TrainingState.restore(model, optimizer, checkpoints, team)
    resumed_at = state.step
    tracker.rewind(state.step)
    total_steps = settings.epochs * loader.steps_per_epoch
    last_step = min(total_steps, settings.max_steps or total_steps)
    network = team.wrap(model if inhibition is None else MaskableForward(model, inhibition.layer))
    rates = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]
    stop = stop or StopSignals()
    books = Bookkeeper(
        model,
        optimizer,
        state=state,
        settings=settings,
        tracker=tracker,
        checkpoints=checkpoints,
        evaluate=evaluate,
        stop=stop,
        learning_rate=lambda step: rates[0] * schedule(step - 1, total_steps),
        steps_per_epoch=loader.steps_per_epoch,
        last_step=last_step,
    )
    guard = Guard(model, refuse=books.refuse, skips=settings.on_nonfinite == "skip", team=team)
    with (
        ProgressReport("training", total=last_step, unit="step", done=state.step) as progress,
        stop.postponed(),
    ):
        is_at_an_end = state.step % loader.steps_per_epoch == 0 or state.step == last_step
        if is_at_an_end and state.closed_step < state.step:
            books.after_epoch(progress)  # stopped before or in the evaluation of this epoch
        while state.step < last_step:
            epoch, start = divmod(state.step, loader.steps_per_epoch)
            model.train()
            for images, labels in loader.epoch(epoch, start=start):
                state.step += 1
                if settings.channels_last:
                    images = images.contiguous(memory_format=torch.channels_last)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * schedule(state.step - 1, total_steps)

                # Step 1: the plain step.
                guard.remember()
                with autocast(device, settings.precision):
                    logits = network(images)
                    loss = F.cross_entropy(logits, labels) * team.loss_scale(len(labels), device)
                correct = logits.argmax(dim=1) == labels
                # On its way to the host while the device takes the step.
                correct_on_host = HostCopy(correct)
                norm = guard.descend(optimizer, loss)
                if norm is not None:
                    state.window.add_plain(loss.detach(), correct, gradient_norm=norm, step=state.step)

                # Step 2: when it is due, and on the samples that were right.
                if inhibition is not None and inhibition.is_due(state.step) and norm is not None:
                    chosen = correct_on_host.read().nonzero().squeeze(1).to(device, non_blocking=True)
                    if len(chosen) < min_batch_size:
                        chosen = chosen[:0]
                    if team.all_reduce_max(len(chosen)) == (0,):
                        state.skipped_steps += 1
                    else:
                        # Steps 3 to 9: decide from what is left when the deciding groups are damped.
                        guard.remember()
                        generator = make_generator(
                            device, seed=seed, purpose="medoids", step=state.step, rank=team.rank
                        )
                        with autocast(device, settings.precision), books.watching_features():
                            inhibited = (
                                inhibition.step(
                                    model,
                                    images[chosen],
                                    labels[chosen],
                                    generator=generator,
                                    through=network,
                                )
                                if len(chosen)
                                else empty_step(network, images, labels)
                            )
                        weight = team.loss_scale(len(chosen), device)
                        norm = guard.descend(optimizer, inhibited.loss * weight, name="inhibited loss")
                        if norm is not None:
                            state.window.add_inhibited(
                                inhibited, weight=weight, gradient_norm=norm, step=state.step
                            )
                            state.inhibited_steps += 1
                        del inhibited  # its mask and features, before the next steps need the memory

                books.after_step(progress, images=len(labels) * team.size)
                if state.step == last_step:
                    break
            books.after_epoch(progress)
    return TrainingResult(
        state.step, total_steps, resumed_at, state.inhibited_steps, state.skipped_steps, state.metrics
    )


def empty_step(network: nn.Module, images: Tensor, labels: Tensor) -> InhibitedStep:
    """An inhibited step of no samples, which all processes of a team must take: it changes nothing but lets
    the others' gradients in. In eval mode, since it must not move BatchNorm statistics."""
    network.eval()
    logits = network(images[:1])
    network.train()
    nothing = 0 * logits.sum()
    return InhibitedStep(logits[:0], nothing, nothing, nothing, images[:0], labels[:0, None], images[:0])
