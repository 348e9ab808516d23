"""TENET training: group-wise inhibition based feature regularization (ICCV 2021, arXiv 2103.02152)."""

__version__ = "0.2.0"
