#!/usr/bin/env bash
# Make the maps of a config by MPI ranks, each with one region at a time in memory; submitted again, it goes on.
# Open MPI; for MPICH: --mpi=pmi2.
#   sbatch slurm/make_maps.sh [CONFIG [key=value ...]]
#SBATCH --job-name=make_maps
#SBATCH --ntasks=64
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
[ $# -gt 0 ] || set -- configs/multi3.yaml
exec "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh" srun --mpi=pmix -- make_maps "$@" --consolidate
