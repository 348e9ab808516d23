"""Several processes that train one model, against the same arithmetic in one process."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tenet.augment import Augmentation
from tenet.data import ImageArrays, TrainingLoader
from tenet.distributed import SINGLE_PROCESS, ProcessGroup, is_main_process, is_started_by_torchrun
from tenet.errors import ConfigError
from tenet.randomness import make_generator
from tenet.training.schedule import Cosine, Span
from tests.distributed import member, shares
from tests.distributed.launch import torchrun
from tests.reference.inhibited_step import inhibited_loss


def simulate():
    """The team's arithmetic in this process: one replica for each member, gradients averaged by hand."""
    models = [member.make_model() for _ in member.SHARES]
    optimizers = [member.make_optimizer(model) for model in models]
    lonely = 0

    def descend(losses):
        for model, loss in zip(models, losses, strict=True):
            model.zero_grad()
            if loss is not None:
                loss.backward()
        for parameters in zip(*(model.parameters() for model in models), strict=True):
            mean = sum(0 if one.grad is None else one.grad for one in parameters) / len(models)
            for one in parameters:
                one.grad = mean.clone()
        for optimizer in optimizers:
            optimizer.step()

    def weighted(losses, counts):
        total = sum(counts)
        return [
            None if loss is None else loss * len(counts) * count / total
            for loss, count in zip(losses, counts, strict=True)
        ]

    inhibited_steps = 0
    for step in range(member.STEPS):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = member.LEARNING_RATE * Cosine()(
                step, Span(member.STEPS, member.STEPS)
            )
        # DDP hands out the first process's BatchNorm statistics before each of its forwards.
        for name, value in models[1].named_buffers():
            value.copy_(dict(models[0].named_buffers())[name])
        batches = [member.share(step, rank) for rank in range(2)]
        for model in models:
            model.train()
        logits = [model(images) for model, (images, _) in zip(models, batches, strict=True)]
        losses = [F.cross_entropy(out, labels) for out, (_, labels) in zip(logits, batches, strict=True)]
        descend(weighted(losses, member.SHARES))
        right = [out.argmax(1) == labels for out, (_, labels) in zip(logits, batches, strict=True)]
        counts = [int(chosen.sum()) for chosen in right]
        settings = member.make_method()
        if not settings.is_due(step + 1) or sum(counts) == 0:
            continue
        inhibited_steps += 1
        lonely += 0 in counts
        losses = []
        for rank, (model, (images, labels), chosen) in enumerate(zip(models, batches, right, strict=True)):
            generator = make_generator("cpu", seed=7, purpose="medoids", step=step + 1, rank=rank)
            losses.append(
                inhibited_loss(model, images[chosen], labels[chosen], settings=settings, generator=generator)
                if chosen.any()
                else None
            )
        descend(weighted(losses, counts))
    return models[0], inhibited_steps, lonely


@pytest.fixture(scope="module")
def team_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team")
    done = torchrun(Path(member.__file__), folder, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_team_computes_what_one_process_would_with_the_gradients_of_all_samples(team_folder):
    model, inhibited_steps, lonely = simulate()
    assert lonely > 0, "no step left a process without a right sample: the hard case is not tested"
    saved = torch.load(team_folder / "member-0.pt", weights_only=True)
    assert saved["inhibited_steps"] == inhibited_steps
    for name, value in model.state_dict().items():
        torch.testing.assert_close(saved["model"][name], value, rtol=1e-5, atol=1e-6)


def test_the_processes_of_a_team_end_with_the_same_weights_and_metrics(team_folder):
    first, second = (torch.load(team_folder / f"member-{rank}.pt", weights_only=True) for rank in range(2))
    parameters = [name for name, _ in member.make_model().named_parameters()]
    assert all(torch.equal(first["model"][name], second["model"][name]) for name in parameters)
    timeless = [
        {key: value for key, value in one["metrics"].items() if not key.startswith("speed/")}
        for one in (first, second)
    ]
    assert timeless[0] == timeless[1]


def test_without_torchrun_a_process_is_alone(monkeypatch):
    # Variables that a cluster may set for other purposes.
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not is_started_by_torchrun()
    assert is_main_process()
    value = torch.tensor([1.0])
    assert SINGLE_PROCESS.all_reduce_sum(value) is value
    assert SINGLE_PROCESS.loss_scale(0, value.device) == 1.0
    assert SINGLE_PROCESS.broadcast("folder") == "folder"


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
def test_an_environment_without_numbers_is_named(monkeypatch, name):
    of_torchrun = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "WORLD_SIZE": "2"}
    for variable, value in (of_torchrun | {name: "abc"}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{name}=abc in the environment: must be an integer"):
        is_started_by_torchrun()


@pytest.mark.parametrize("images", [10, 17])
def test_the_shares_of_a_batch_are_the_batch(images):
    class Plain(Augmentation):
        def __init__(self):
            super().__init__(flip=False, padding=0)

        def change(self, images, *, generator):
            return images.float() / 255

    arrays = ImageArrays(torch.zeros(images, 4, 4, 3, dtype=torch.uint8), torch.arange(images))

    def epoch(rank, processes):
        loader = TrainingLoader(
            arrays, augmentation=Plain(), batch_size=8, seed=3,
            rank=rank, processes=processes,
        )  # fmt: skip
        return [batch.labels.tolist() for batch in loader.epoch(0)]

    whole = epoch(0, 1)
    shares = [epoch(rank, 3) for rank in range(3)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert all(parts), "a process without a sample could not take part"
        assert sorted({label for part in parts for label in part}) == sorted(batch)
        if len(batch) >= 3:
            assert sum(map(len, parts)) == len(batch)


def test_the_processes_share_buffers_in_one_order(monkeypatch):
    """In the order of a set, which differs between processes, they would take each other's for their own."""
    kinds = [torch.int64, torch.float32, torch.bool, torch.float64, torch.uint8, torch.int32, torch.float16]
    network = torch.nn.Module()
    for index, kind in enumerate(kinds):
        network.register_buffer(f"buffer{index}", torch.ones(2, dtype=kind))
    shared = []

    def broadcast(values, *, src):
        shared.append(values.dtype)
        values.zero_()

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    ProcessGroup(rank=1, size=2).share_buffers(network)
    assert shared == kinds
    assert not any(buffer.any() for buffer in network.buffers())


@pytest.mark.parametrize(
    ("processes", "parts", "is_free"),
    [
        (2, 3, False),
        *(
            pytest.param(*case, marks=pytest.mark.alone)
            for case in ((2, 1, False), (2, 3, True), (4, 1, False), (8, 1, False), (8, 2, False))
        ),
    ],
)
def test_processes_with_small_shares_or_in_parts_take_the_updates_of_the_whole_batch(
    tmp_path, processes, parts, is_free
):
    whole = shares.train_share(tmp_path / "whole", is_free=is_free)
    members = shares.train_together(tmp_path, processes=processes, parts=parts, is_free=is_free)
    assert whole["inhibited_steps"] > 1
    assert any(saved["empty_updates"] for saved in members), "no process was without a right sample"
    for saved in members:
        assert saved["inhibited_steps"] == whole["inhibited_steps"]
        for name, value in whole["model"].items():
            torch.testing.assert_close(saved["model"][name], value, rtol=1e-7, atol=1e-7)
        for name in ("train/loss", "train/error_pct", "train/loss_inhibited"):
            assert saved["metrics"][name] == pytest.approx(whole["metrics"][name])
