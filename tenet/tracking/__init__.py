"""A run's metrics: always into its folder, and into Weights & Biases where that is configured."""

from tenet.tracking.tracker import NoTracking, Tracker
from tenet.tracking.wandb_tracking import WandbTracking

__all__ = ["NoTracking", "Tracker", "WandbTracking"]
