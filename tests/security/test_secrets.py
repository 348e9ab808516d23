"""No file that a command writes holds a secret of the environment, whatever the command is."""

from pathlib import Path

import numpy as np
import pytest

from tests.security.commands import TINY, run

KEY = "0123456789abcdef" * 2 + "01234567"
SECRETS = {
    "WANDB_API_KEY": KEY,
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI-not-a-key",
    "HF_TOKEN": "hf_not-a-token-at-all",
    # As if the checkout's remote carried a password.
    "GIT_CONFIG_VALUE_0": "https://somebody:ghp_not-a-password@git.example/tenet.git",
    "HTTPS_PROXY": "http://somebody:not-a-proxy-password@127.0.0.1:9",
}
PLANTED = [
    KEY,
    "wJalrXUtnFEMI",
    "hf_not-a-token",
    "ghp_not-a-password",
    "not-a-proxy-password",
    "netrc-not-a-password",
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password netrc-not-a-password\n")
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "remote.origin.url"}
    return {**SECRETS, **git, "HOME": str(home)}


def test_no_file_of_a_run_its_evaluation_or_their_comparison_holds_a_secret(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    rng, labels = np.random.default_rng(0), np.arange(20) % 10
    images = rng.integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    (tmp_path / "work").mkdir()
    data = [*TINY, "dataset=arrays", "dataset.path=../own.npz", "dataset.fraction=1.0", "tracking=wandb"]
    commands = [
        [
            "train.py",
            "-m",
            *data,
            "tracking.artifacts=checkpoints",
            "hydra.sweep.subdir=seed${seed}",
            "seed=0",
        ],
        ["evaluate.py", "run=runs/seed0", "corruptions.names=[fog]"],
        ["-m", "tenet.compare", "runs", "--output", "page.html"],
        ["-m", "tenet.xray", "runs/seed0", "--images", "0"],
        ["-m", "tenet.doctor", *data, "--steps", "1", "--output", "doctor", "--json", "doctor.json"],
    ]
    for words in commands:
        done = run(*words, cwd=tmp_path / "work", environment=environment)
        assert "Traceback" not in done.output
        assert done.code == 0 or "tenet.doctor" in words, done.output  # which finds the proxy wanting
        assert [secret for secret in PLANTED if secret in done.output] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".netrc"]
    assert {
        "environment.json",
        "page.html",
        "doctor.json",
        "wandb.json",
        "corruptions-part.json",
        "xray.png",
    } <= {path.name for path in files}
    assert [path.name for path in files if path.suffix == ".wandb"], (
        "W&B's own files are there to be searched"
    )
    found = {
        str(path.relative_to(tmp_path)): secret
        for path in files
        for content in [path.read_bytes()]
        for secret in PLANTED
        if secret.encode() in content
    }
    assert found == {}


def test_the_search_would_find_them(tmp_path: Path, environment: dict[str, str]) -> None:
    """What the user types himself is kept, since it is his own: the same search sees it."""
    words = [
        "train.py",
        *TINY,
        "tracking=wandb",
        f"tracking.notes={KEY}",
        "hydra.run.dir=run",
        "trainer.max_steps=1",
    ]
    assert run(*words, cwd=tmp_path, environment=environment).code == 0
    held = {
        path.suffix for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    }
    assert {".yaml", ".wandb"} <= held
