"""A run's metrics: always into its folder, and into Weights & Biases where that is configured."""

from tenet.tracking.files import METRICS_FILE, SUMMARY_FILE, WANDB_FILE
from tenet.tracking.service import quiet_settings as _quiet_wandb_settings
from tenet.tracking.tracker import NoTracking, Tracker
from tenet.tracking.wandb_tracking import WandbTracking

__all__ = [
    "METRICS_FILE",
    "SUMMARY_FILE",
    "WANDB_FILE",
    "NoTracking",
    "Tracker",
    "WandbTracking",
    "_quiet_wandb_settings",
]
