#!/usr/bin/env bash
# What every script of this folder runs: a job of the package by the Python of the folder it was submitted from, or by
# PYTHON, the one of an environment elsewhere.
#   slurm/job.sh [srun OPTIONS --] JOB ARGUMENTS
# Submit from the top folder of the code. Change what a script asks for on the command line, as with any other:
#   sbatch --partition=long --time=2-0 slurm/train.sh
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
launcher=()
if [ "$1" = srun ]; then
    while [ "$1" != -- ]; do
        launcher+=("$1")
        shift
    done
    shift
fi
job=$1
shift
exec "${launcher[@]}" "${PYTHON:-.venv/bin/python}" -m "hpc_massmap.jobs.$job" "$@"
