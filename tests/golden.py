"""Values computed by the official implementation, on a CPU in float32."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "fixtures" / "golden"
INHIBITION_FILES = sorted(path.name for path in GOLDEN.glob("inhibition-*.npz"))
STEP_FILES = sorted(path.name for path in GOLDEN.glob("step-*.npz"))


def load(name: str) -> dict[str, Any]:
    """Arrays as tensors; `config` as a dictionary."""
    with np.load(GOLDEN / name) as file:
        values: dict[str, Any] = {key: torch.from_numpy(file[key]) for key in file.files if key != "config"}
        if "config" in file.files:
            values["config"] = json.loads(str(file["config"]))
    return values
