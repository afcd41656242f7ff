#!/usr/bin/env bash
# Tune xray: this job holds the database and submits the workers that SITE describes.
#   SITE=configs/sites/mine.yaml sbatch slurm/tune_xray.sh [key=value ...]
#SBATCH --job-name=tune_xray
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=24:00:00
exec "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh" tune configs/xray.yaml "$@" --site "${SITE:?names a file of configs/sites/}"
