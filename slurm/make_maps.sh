#!/usr/bin/env bash
# Make the maps of a config by MPI ranks, each with one region at a time in memory; before its time is
# up this job is requeued, and goes on.
# Open MPI; for MPICH: --mpi=pmi2.
#   sbatch slurm/make_maps.sh [CONFIG [key=value ...]]
#SBATCH --job-name=make_maps
#SBATCH --ntasks=64
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
[ $# -gt 0 ] || set -- configs/multi3.yaml
job srun --mpi=pmix -- make_maps "$@" --consolidate
