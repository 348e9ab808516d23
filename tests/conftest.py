"""Every test runs with the shapes and types of tenet's public functions checked."""

import os

# Before any import of wandb: a test never talks to a server unless it starts one itself.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

from jaxtyping import install_import_hook

from tenet.device import share_cores

share_cores()  # as the entry points do, before torch loads
install_import_hook("tenet", "beartype.beartype")
