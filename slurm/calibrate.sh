#!/usr/bin/env bash
# Predict the maps that validated a model, and calibrate its error bars on them by region.
#   sbatch slurm/calibrate.sh [CONFIG [key=value ...]]
#SBATCH --job-name=calibrate
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
[ $# -gt 0 ] || set -- configs/multi3_quantiles.yaml
job predict "$@" --validation
job calibrate "$@"
