"""Examine a run before it starts: `python -m tenet.doctor`; see docs/doctor.md."""
