"""A published folder on the Hugging Face hub."""

import importlib.util
import os
from pathlib import Path

from tenet.errors import ConfigError

# What tenet.publish writes, as patterns of file names.
OWN_FILES = ["model.onnx", "model.pt2", "robustbench*.json", "pictures/*.png"]


def check_hub_is_installed() -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ConfigError("--push needs huggingface_hub: pip install 'tenet-training[publish]'")


def push(folder: Path, name: str, *, public: bool) -> str:
    """Upload the folder as the model `name`, such as user/model, and return its address.

    A new model is private unless `public`. An existing one keeps its visibility and its other files; exported programs and
    figures of an earlier model are deleted, because they would pass for those of this one.

    The server is HF_ENDPOINT or the hub; the token is HF_TOKEN or that of `hf auth login`.
    Raises ConfigError if the server refuses the upload or can't be reached.
    """
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        address = hub.create_repo(name, private=not public, exist_ok=True)
        hub.upload_folder(
            repo_id=name, folder_path=folder, delete_patterns=OWN_FILES, commit_message="Publish the model"
        )
    except Exception as error:  # of the library, of its HTTP client, and ValueError for wrong names
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        status = getattr(getattr(error, "response", None), "status_code", None)
        login = "log in by `hf auth login` or set HF_TOKEN, then " if status in (401, 403) else ""
        raise ConfigError(
            f"--push {name}: {reason}; {folder} is complete: {login}repeat the command with --force"
        ) from error
    return str(address)
