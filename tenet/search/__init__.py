"""Hyperparameter search by Optuna, without an account, over the W&B sweep definitions in sweeps/."""
