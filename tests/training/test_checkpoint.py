"""Weights go in whole or not at all, files are written whole or not at all, and pickled code never runs."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tenet.errors import CheckpointError
from tenet.files.tensors import read_tensors
from tenet.files.weights import load_weights, save_weights
from tenet.training.checkpoint import Checkpoints, write_atomically

State = dict[str, Tensor]


def make_model(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator))
    return model


def state_of(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def prefixed(prefix: str) -> Callable[[State], dict[str, Any]]:
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(dict, id="state dict"),
        pytest.param(lambda state: {"state_dict": state, "epoch": 3}, id="state_dict"),
        pytest.param(lambda state: {"model": state, "optimizer": {}, "best": 0.5}, id="model"),
        pytest.param(lambda state: {"model_state_dict": state}, id="model_state_dict"),
        pytest.param(lambda state: {"model": {"state_dict": state}}, id="nested"),
        pytest.param(prefixed("module."), id="module."),
        pytest.param(prefixed("_orig_mod."), id="_orig_mod."),
        pytest.param(prefixed("_orig_mod.module."), id="_orig_mod.module."),
        pytest.param(prefixed("module._orig_mod."), id="module._orig_mod."),
        pytest.param(lambda state: {"state_dict": prefixed("module.")(state)}, id="state_dict of module."),
    ],
)
def test_weights_are_found_in_every_usual_layout(
    tmp_path: Path, suffix: str, layout: Callable[[State], dict[str, Any]]
) -> None:
    path = tmp_path / f"weights{suffix}"
    wanted, model = state_of(make_model(1)), make_model(2)
    torch.save(layout(wanted), path)
    load_weights(model, path)
    assert same(state_of(model), wanted)


def test_weights_saved_as_safetensors_come_back_bitwise(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "weights.safetensors"
    saved, model = make_model(1).to(memory_format=torch.channels_last), make_model(2)
    save_weights(saved, path)
    load_weights(model, path)
    assert same(state_of(model), state_of(saved))
    assert names_in(path.parent) == [path.name]


def test_safetensors_of_a_wrapped_model_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    wrapped, model = nn.ModuleDict({"module": make_model(1)}), make_model(2)
    save_weights(wrapped, path)
    load_weights(model, path)
    assert same(state_of(model), state_of(wrapped["module"]))


def test_only_leading_wrapper_names_are_stripped(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    model = nn.ModuleDict({"inner": nn.ModuleDict({"module": nn.Linear(1, 1)})})
    torch.save(state_of(model), path)
    load_weights(model, path)


def test_all_that_does_not_fit_is_told_at_once_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state, model = state_of(make_model(1)), make_model(2)
    del state["0.bias"], state["1.running_var"]
    state["extra.weight"] = torch.zeros(1)
    state["3.weight"] = torch.zeros(10, 4)
    torch.save(state, path)
    before = state_of(model)
    with pytest.raises(CheckpointError) as error:
        load_weights(model, path)
    message = str(error.value)
    assert f"{path} does not fit Sequential" in message
    assert "missing: 0.bias, 1.running_var" in message
    assert "unexpected: extra.weight" in message
    assert "misshapen: 3.weight ([10, 4] instead of [2, 4])" in message
    assert same(state_of(model), before)


class Trap:
    """Creates the file `sprung` when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> Any:
        return Path.touch, (self.sprung,)


@pytest.mark.parametrize("is_plain_pickle", [False, True])
def test_pickled_code_in_a_file_never_runs(tmp_path: Path, is_plain_pickle: bool) -> None:
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    content = {**state_of(make_model(1)), "trap": Trap(sprung)}
    if is_plain_pickle:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"weights\.pth can't be read as tensors and plain values"):
        load_weights(make_model(1), path)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists(), "the trap itself must work"


def in_the_old_format(path: Path) -> None:
    torch.save(state_of(make_model(1)), path, _use_new_zipfile_serialization=False)


def in_the_zip_format(path: Path) -> None:
    torch.save(state_of(make_model(1)), path)


def as_safetensors(path: Path) -> None:
    save_weights(make_model(1), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("w.pth", in_the_zip_format), ("w.pth", in_the_old_format), ("w.safetensors", as_safetensors)],
)
def test_a_file_cut_anywhere_is_refused_by_name(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), len(whole) // 20), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=rf"{name} can't be read as"):
            load_weights(make_model(1), path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_missing_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is not a file"):
        load_weights(make_model(1), tmp_path / name)


@pytest.mark.parametrize("name", ["weights", "weights.onnx"])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"?")
    with pytest.raises(
        CheckpointError, match=rf"{name}: weights are read from \.pth, \.pt, .* and \.safetensors"
    ):
        load_weights(make_model(1), tmp_path / name)


@pytest.mark.parametrize(
    "content", [{}, [torch.zeros(1)], torch.zeros(1), {"epoch": 1}, {"model": {}}, {1: torch.zeros(1)}]
)
def test_a_file_without_a_state_dict_is_refused_by_name(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=r"weights\.pth holds no state dict"):
        load_weights(make_model(1), tmp_path / "weights.pth")


def test_a_file_is_replaced_only_once_its_successor_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"

    def write(temporary: Path) -> None:
        assert not path.exists() or path.read_text() == "old"
        assert temporary.parent == path.parent, "a rename is atomic only within a file system"
        temporary.write_text(text)

    for text in ("old", "new"):
        write_atomically(path, write)
        assert path.read_text() == text
    assert names_in(path.parent) == ["figures.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["figures.json"]


def step_in(path: Path) -> int:
    return read_tensors(path)["step"]


def test_a_run_folder_without_a_checkpoint_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).newest() is None
    assert Checkpoints(tmp_path / "nowhere").load() is None


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save({"step": step, "weights": torch.tensor([float(step)])})
    assert checkpoints.newest() == tmp_path / "checkpoint.pt"
    assert checkpoints.load() == {"step": 3, "weights": torch.tensor([3.0])}
    assert {name: step_in(tmp_path / name) for name in names_in(tmp_path)} == {
        "checkpoint.pt": 3,
        "checkpoint-previous.pt": 2,
    }


@pytest.mark.parametrize("crashing_rename", [1, 2])
def test_after_a_crash_at_either_rename_the_last_whole_checkpoint_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashing_rename: int
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1})
    checkpoints.save({"step": 2})
    renames = 0
    rename = Path.replace

    def crash(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == crashing_rename:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save({"step": 3})
    monkeypatch.undo()

    assert checkpoints.load() == {"step": 2}
    checkpoints.save({"step": 3})
    assert checkpoints.load() == {"step": 3}
    assert step_in(checkpoints.previous) == 2


def test_a_checkpoint_that_can_not_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoints.save({"step": 2, "function": lambda: None})
    assert checkpoints.load() == {"step": 1}
    assert names_in(tmp_path) == ["checkpoint.pt"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1})
    checkpoints.save({"step": 2})
    content = checkpoints.last.read_bytes()
    checkpoints.last.write_bytes(content[: len(content) // 2])
    with caplog.at_level("WARNING", logger="tenet"):
        assert checkpoints.load() == {"step": 1}
    assert "checkpoint.pt can't be read" in caplog.text
    assert "continuing from the one before" in caplog.text
    checkpoints.previous.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt can't be read"):
        checkpoints.load()


def test_weights_are_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    save_weights(make_model(1), tmp_path / "w.safetensors")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
