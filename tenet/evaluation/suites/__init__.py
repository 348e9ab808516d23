"""Benchmarks, a module for each; docs/extending.md says how to add one."""

from tenet.evaluation.measures import Measures
from tenet.evaluation.suites.suite import Cell, Suite, Summary

__all__ = ["Cell", "Measures", "Suite", "Summary"]
