"""What `import hpc_massmap` offers: a few names for notebooks and scripts. Nothing here needs Slurm, MPI or MongoDB."""
