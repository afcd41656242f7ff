#!/usr/bin/env bash
# The report that compares what there is of the paper; massmap paper submits it to run when everything else has ended.
#   sbatch slurm/paper_report.sh CONFIG [--between] [--no-tune] [--models MODEL ...]
#SBATCH --job-name=paper_report
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
job paper "$@" --report
