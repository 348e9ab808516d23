"""Every test runs with the shapes and types of tenet's public functions checked."""

import os

# Before any import of wandb: a test never talks to a server unless it starts one itself.
os.environ.setdefault("WANDB_MODE", "offline")
# As the entry points do: waiting threads leave the cores to others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("WANDB_SILENT", "true")

from jaxtyping import install_import_hook

install_import_hook("tenet", "beartype.beartype")
