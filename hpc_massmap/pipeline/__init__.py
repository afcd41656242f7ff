"""The whole paper: every model from maps to metrics, on Slurm or on this machine."""
