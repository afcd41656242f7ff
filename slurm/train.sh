#!/usr/bin/env bash
# Train the final model of a config by the ranks that SITE describes, then predict the test set. Before its time is up
# this job is requeued; the training goes on by itself meanwhile.
#   [SITE=configs/sites/gpu.yaml] sbatch slurm/train.sh [CONFIG [key=value ...]]
#SBATCH --job-name=train
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
. "${SLURM_SUBMIT_DIR:-.}/slurm/job.sh"
[ $# -gt 0 ] || set -- configs/multi3.yaml
job train "$@" --site "${SITE:-auto}"
job predict "$@"
