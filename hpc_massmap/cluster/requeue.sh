# What a batch script does about its end; __init__.py beside it says why. slurm/job.sh reads this file, and the scripts of
# workers and trainings contain it.
job_of_slurm=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job_of_slurm=${job_of_slurm:-${SLURM_JOB_ID:-}}

# Ask Slurm, and have its answer in `said`. The signals that end this job reach all its processes: the question ignores
# them, and is put again if one was faster.
said=''
ask() {
    local code
    for _ in 1 2 3; do
        code=0
        said=$(
            trap '' TERM USR1 USR2
            scontrol "$@" "$job_of_slurm" 2>&1
        ) || code=$?
        [ "$code" -ge 128 ] || break
    done
    return "$code"
}

# Slurm preempts this job: it has set a time, and calls off the job's next life unless we ask for it.
is_preempted() {
    ask show job --oneliner || return 1
    [[ $said == *" PreemptTime="[0-9]* ]]
}

requeue() {
    if ask requeue; then
        echo "job $job_of_slurm: $1; it is requeued"
    elif [[ $said != *"Job is pending execution"* ]]; then # else somebody was faster
        echo "job $job_of_slurm: $1, and is not requeued ($said); submit it again to continue" >&2
    fi
}

requeue_if_preempted() {
    if is_preempted; then requeue "preempted"; fi
}

# requeue_after CODE: what ended by a notice before it could listen (128 + USR1, 128 + USR2), or at a preemption, did
# not fail.
requeue_after() {
    case $1 in
        0) ;;
        138 | 140)
            if is_preempted || [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
                requeue "told to end before it listened"
            else
                echo "job $job_of_slurm: told to end before it listened, again and again; give it more time" >&2
            fi
            ;;
        *) requeue_if_preempted ;;
    esac
}

# requeue_if_wished FILE: who ran in a container, where there is no scontrol, left word there.
requeue_if_wished() {
    if [ -e "$1" ]; then requeue "told to end"; fi
}
