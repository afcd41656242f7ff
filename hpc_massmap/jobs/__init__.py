"""The steps as commands: `python -m hpc_massmap.jobs.tune CONFIG`, in a clone also `massmap tune CONFIG`."""
