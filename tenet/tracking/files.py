"""The files of a run folder that tracking writes."""

METRICS_FILE = "metrics.jsonl"
SUMMARY_FILE = "summary.json"
WANDB_FILE = "wandb.json"
