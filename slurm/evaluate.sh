#!/usr/bin/env bash
# The metrics over the test set by MPI ranks, then the report. Open MPI; for MPICH: --mpi=pmi2.
#   sbatch slurm/evaluate.sh [CONFIG [key=value ...]]
#SBATCH --job-name=evaluate
#SBATCH --ntasks=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
[ $# -gt 0 ] || set -- configs/multi3.yaml
job srun --mpi=pmix -- evaluate "$@"
job report "$@"
