#!/usr/bin/env bash
# Tune xray: this job holds the database and submits the workers that SITE describes. Before its time is up it shuts
# the database down and is requeued; workers wait for it.
#   [SITE=configs/sites/gpu.yaml] sbatch slurm/tune_xray.sh [key=value ...] [--workers N]
#SBATCH --job-name=tune_xray
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
job tune configs/xray.yaml "$@" --site "${SITE:-auto}"
