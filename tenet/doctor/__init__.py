"""What could go wrong with a run, looked for before it starts: `python -m tenet.doctor`; docs/doctor.md."""
