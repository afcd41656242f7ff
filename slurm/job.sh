#!/usr/bin/env bash
# What every script of this folder begins with:
#   job [srun OPTIONS --] JOB ARGUMENTS
# runs a job of the package by PYTHON, else by the .venv of the folder it was submitted from, else by the environment that
# was active there, and passes on what Slurm says of its end: hpc_massmap/cluster/__init__.py tells it signal by signal.
# Submit from the top folder of the code, or from where `massmap configs copy` has put these scripts. Change what a script asks for on the command line, as with any other:
#   sbatch --partition=long --time=2-0 slurm/train.sh
work='' told=''
trap 'told=1; [ -z "$work" ] || kill -USR1 "$work" 2>/dev/null || :' USR1
trap 'told=1; requeue_if_preempted; [ -z "$work" ] || kill -TERM "$work" 2>/dev/null || :' TERM
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
[ -n "${PYTHON:-}" ] || { [ -x .venv/bin/python ] && PYTHON=.venv/bin/python || PYTHON=python3; }
package=hpc_massmap
[ -d "$package" ] || package=$("$PYTHON" -c 'import hpc_massmap; print(*hpc_massmap.__path__)')
. "$package/cluster/requeue.sh"
unset "${!SBATCH_@}" "${!SRUN_@}" "${!SALLOC_@}" # of the shell that submitted us: Slurm's own are SLURM_*
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

job() {
    local command=() code
    if [ "$1" = srun ]; then
        while [ "$1" != -- ]; do
            command+=("$1")
            shift
        done
        shift
    fi
    command+=("$PYTHON" -m "hpc_massmap.jobs.$1" "${@:2}")
    if [ -z "$job_of_slurm" ]; then
        "${command[@]}"
        return
    fi
    if [ -n "$told" ]; then # before there was anybody to tell
        requeue_after 138
        exit 138
    fi
    "${command[@]}" &
    work=$!
    while :; do
        told='' code=0
        wait "$work" || code=$?
        [ -n "$told" ] || break # else it was the notice that ended the waiting
    done
    work=''
    requeue_after "$code"
    [ "$code" = 0 ] || exit "$code"
}
