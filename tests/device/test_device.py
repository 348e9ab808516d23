"""Training, evaluation and the doctor on a device that keeps its tensors and the host's apart, as a GPU does."""

import pytest

from tenet.methods import inhibited
from tests.config.options import OPTIONS
from tests.device.backend import IS_POSSIBLE, Device
from tests.faults.commands import TINY, Command, figures_of, write_data
from tests.multi_label import write_npz

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="this torch takes no device written in Python")
# Three steps, each with an inhibited update.
SMALL = [
    *(word for word in TINY if not word.startswith("trainer.device=")), "trainer.batch_size=8", "trainer.epochs=1",
    "tenet.start_step=1", "tenet.interval=1", "tenet.max_iterations=3",
]  # fmt: skip
# Between them, these have every option of the groups that compute on the device.
RUNS = (
    "objective=jsd augment=augmix trainer.accumulate=2 ema.decay=0.9",
    "objective=jsd augment=prime trainer.clip_norm=1.0",
    "objective=jsd augment=ipmix schedule=onecycle",
    "objective=binary_cross_entropy dataset.path=labels.npz dataset.multi_label=true dataset.fraction=0.2 augment=none",
    "augment=standard mixing=pixmix optimizer=adamw attack=pgd attack.steps=2 attack.restarts=2 attack.norm=l2",
    "augment=autoaugment mixing=mixup attack=fgsm_rs trainer.on_nonfinite=skip",
    "augment=randaugment mixing=cutmix optimizer=rmsprop attack=trades attack.steps=1",
    "augment=trivialaugment mixing=cutout optimizer=radam attack=free",
    "augment=apr mixing=apr optimizer=adagrad",
    "augment=hybrid mixing=hybrid optimizer=adam",
)


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path, count=12)
    write_npz(tmp_path / "labels.npz")
    return tmp_path


def run(script, *arguments, cwd, device=None):
    """The command on the device."""
    return Command(script, *arguments, cwd=cwd, fault=device or Device()).wait(timeout=200)


@pytest.mark.slow
def test_training_on_the_device_gives_the_figures_of_the_cpu(folder):
    on_device = run("train", *SMALL, cwd=folder)
    assert on_device.code == 0, on_device.output
    assert "run folder run, toy" in on_device.output
    run("train", *SMALL, "trainer.device=cpu", "hydra.run.dir=other", cwd=folder)
    assert figures_of(folder / "run") == figures_of(folder / "other")
    assert figures_of(folder / "run")[-2]["train/inhibited_steps"] == 3


class Forgetful(Device):
    """With a mask on the host."""

    def set_up(self):
        super().set_up()
        on_device = inhibited.inhibition_mask
        inhibited.inhibition_mask = lambda *args, **settings: on_device(*args, **settings).cpu()


class Careless(Device):
    """With a generator on the host."""

    def set_up(self):
        super().set_up()
        on_device = inhibited.group_channels
        inhibited.group_channels = lambda *args, generator, **settings: on_device(
            *args, generator=type(generator).__base__(), **settings
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "message"),
    [
        (Forgetful(), "aten.mul.Tensor: tensors on toy and on the CPU"),
        (Careless(), "the generator is on another"),
    ],
)
def test_a_tensor_or_a_generator_on_the_wrong_side_ends_the_command(folder, device, message):
    ended = run("train", *SMALL, cwd=folder, device=device)
    assert ended.code == 1
    assert message in ended.output


def test_every_option_that_computes_on_the_device_is_in_one_of_the_runs():
    for group in ("objective", "attack", "augment", "mixing", "optimizer"):
        options = {f"{group}={name}" for of, name in OPTIONS if of == group}
        defaults = {"objective=cross_entropy", "attack=none", "mixing=none", "optimizer=sgd"}
        assert options <= {word for line in RUNS for word in line.split()} | defaults


@pytest.mark.alone
@pytest.mark.parametrize("line", RUNS)
def test_every_option_trains_on_the_device(folder, line):
    ended = run("train", *SMALL, *line.split(), cwd=folder)
    assert ended.code == 0, ended.output


@pytest.mark.alone
def test_corruptions_and_attacks_are_evaluated_on_the_device_and_the_doctor_rehearses_there(folder):
    ended = run("train", *SMALL, cwd=folder)
    assert ended.code == 0, ended.output
    for script, *arguments in (
        ("evaluate", "run=run", "corruptions.severities=[1]", "measures.per_class=true", "batch_size=4"),
        ("evaluate", "run=run", "corruptions.names=[]", "attacks.names=[pgd,apgd]", "attacks.steps=2"),
        ("tenet.doctor.__main__", *SMALL, "hydra.run.dir=other", "--steps", "1"),
    ):
        ended = run(script, *arguments, cwd=folder)
        assert ended.code == 0, ended.output
