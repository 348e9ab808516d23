"""No file that any command writes contains a secret of the environment."""

from pathlib import Path
from secrets import token_hex

import numpy as np
import pytest

from tests.security.commands import TINY, UNLIMITED_MB, run

# Random, so that neither a file of the checkout nor code.patch contains them.
KEY, PASSWORD, TOKEN = (token_hex(20) for _ in range(3))
TYPED = f"note-{token_hex(20)}"
SECRETS = {
    "WANDB_API_KEY": KEY,
    "AWS_SECRET_ACCESS_KEY": TOKEN,
    # As if the checkout's remote carried a password.
    "GIT_CONFIG_VALUE_0": f"https://somebody:{PASSWORD}@git.example/tenet.git",
    "HTTPS_PROXY": f"http://somebody:{PASSWORD}@127.0.0.1:9",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {PASSWORD}\n")
    git = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "remote.origin.url"}
    return {**SECRETS, **git, "HOME": str(home)}


@pytest.mark.alone
def test_no_file_of_a_run_its_evaluation_or_their_comparison_contains_a_secret(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    rng, labels = np.random.default_rng(0), np.arange(20) % 10
    images = rng.integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    (tmp_path / "work").mkdir()
    data = [
        *TINY,
        "dataset=arrays",
        "dataset.path=../own.npz",
        "dataset.fraction=1.0",
        "tracking=wandb",
        f"tracking.notes={TYPED}",
    ]
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
        # The address space that W&B's process needs depends on the number of cores, so it is not limited here.
        done = run(*words, cwd=tmp_path / "work", environment=environment, spare_mb=UNLIMITED_MB)
        assert "Traceback" not in done.output
        assert "W&B failed" not in done.output, done.output
        assert "W&B is off (" not in done.output, done.output
        assert done.code == 0 or "tenet.doctor" in words, done.output  # the doctor reports the unusable proxy
        assert [secret for secret in (KEY, PASSWORD, TOKEN) if secret in done.output] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".netrc"]
    written = {
        "environment.json",
        "page.html",
        "doctor.json",
        "wandb.json",
        "corruptions-part.json",
        "xray.png",
    }
    assert written <= {path.name for path in files}
    assert "git.example" in (tmp_path / "work" / "runs" / "seed0" / "environment.json").read_text()
    # The user's own input is stored. Finding it shows that the search would also find the secrets.
    assert {".yaml", ".wandb"} <= {path.suffix for path in files if TYPED.encode() in path.read_bytes()}
    found = {
        str(path.relative_to(tmp_path)): secret
        for path in files
        for content in [path.read_bytes()]
        for secret in (KEY, PASSWORD, TOKEN)
        if secret.encode() in content
    }
    assert found == {}
