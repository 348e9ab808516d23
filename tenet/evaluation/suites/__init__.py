"""Benchmarks, a module for each; docs/evaluation.md says how to add one."""
