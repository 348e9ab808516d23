"""Tracking of a run's metrics: always in its folder, and in Weights & Biases if configured."""

from tenet.tracking.tracker import NoTracking, Tracker, Tracking
from tenet.tracking.wandb_tracking import WandbTracking

__all__ = ["NoTracking", "Tracker", "Tracking", "WandbTracking"]
