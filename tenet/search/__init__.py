"""Search settings without an account, over the W&B sweep definitions in sweeps/. Neither torch nor Optuna is
imported here before it is needed."""
