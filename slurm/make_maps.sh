#!/usr/bin/env bash
# Make the maps of a config, with as many threads as CPUs.
#   sbatch slurm/make_maps.sh [CONFIG [key=value ...]]
#SBATCH --job-name=make_maps
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=24:00:00
exec "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh" make_maps "${@:-configs/multi3.yaml}"
