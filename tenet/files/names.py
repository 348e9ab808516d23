"""The names of all files and folders of runs, sweeps, evaluations and archives."""

# A run folder.
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
WEIGHTS_FILE = "weights.safetensors"
AVERAGED_WEIGHTS_FILE = "weights-ema.safetensors"
PUBLISHED_WEIGHTS_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.pt"
PREVIOUS_CHECKPOINT_FILE = "checkpoint-previous.pt"
ORIGIN_FILE = "origin.json"
ENVIRONMENT_FILE = "environment.json"
PATCH_FILE = "code.patch"
DIAGNOSIS_FILE = "nonfinite.json"
WANDB_FILE = "wandb.json"
LOCK_FILE = ".lock"
EVALUATION_FOLDER = "evaluation"
# The key of the averaged weights in a checkpoint; evaluate.py takes it as weights_key=.
AVERAGED_KEY = "model_ema"

# The key of weights that lie under no key of their file.
TOP_LEVEL_KEY = "."

# The folder of a multirun.
RESULTS_FILE = "results.json"

# A folder of cached predictions.
IDENTITY_FILE = "identity.json"
PIN_FILE = "kept"

# An archive of corrupted images.
MANIFEST_FILE = "manifest.json"
