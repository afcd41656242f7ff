#!/usr/bin/env bash
# The whole paper: submits every stage as a job that waits for those it needs, and ends. Again, it submits what is left.
#   [SITE=configs/sites/gpu.yaml] sbatch slurm/reproduce_paper.sh [CONFIG [key=value ...] [--between] [--models MODEL ...]]
#SBATCH --job-name=reproduce_paper
#SBATCH --mem=2G
#SBATCH --time=00:30:00
#SBATCH --requeue
#SBATCH --open-mode=append
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
[ $# -gt 0 ] || set -- configs/paper.yaml
job paper "$@" --site "${SITE:-auto}"
