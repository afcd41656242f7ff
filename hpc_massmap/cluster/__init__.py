"""All that a scheduler is told, or tells: sites, jobs, notices of an end.

How a job hears of its end, and what then happens: Slurm gives notice of a time limit (`--signal`, up to a minute early)
and, where `preempt_send_user_signal` is set, of a preemption that has a GraceTime. Without that, a preemption is TERM,
to the steps of a job at the begin of its GraceTime and to all of it at its end; after `KillWait` all is killed.
`scancel` is TERM, then the same.

======  ========================  ==========================================================================
signal  who hears it              what happens
======  ========================  ==========================================================================
USR2    ranks of a worker         the trial is given back, at the end of its epoch if there is time; the job is
        (tune/worker.py)          requeued, by submitit (preemption.py)
USR2    ranks of a training       a checkpoint after this step; the job is requeued, by submitit
        (train/final.py)          (USR1 is the same: who starts ranks by srun mostly asks for that)
USR1    batch script of slurm/    passed on to the job that it runs
        (slurm/job.sh)
USR1    launcher of a tuning or   what it holds (the database) is shut down, then it requeues its job
        training (requeue.py)     (`handing_over`); workers and ranks go on meanwhile
USR1    maps, prediction, report  ends them; the batch script requeues the job, which goes on with what it has
TERM    ranks of a worker         the trial is given back at once
TERM    ranks of a training       a checkpoint after this step; code 75
TERM    every other job           ends as by an exception, with code 143: what it started is shut down (term.py)
======  ========================  ==========================================================================

Before Python listens, a signal ends it. The batch script then sees that its work died of USR1 or USR2 (code 138 or 140)
and requeues the job: nothing was begun (requeue.sh, which every batch script of ours has in it). In a container there
is no `scontrol`: the work leaves a file, and the batch script requeues the job.

A TERM is the end if it comes from `scancel` or a time limit. If Slurm preempts the job (its `PreemptTime` is set), the
batch script requeues it, also where the partition cancels what it preempts (`PreemptMode=CANCEL`) and Slurm itself
would not: the job keeps its number, so that what depends on it goes on waiting. What is killed without any notice comes
back if Slurm requeues it; else the launcher submits another worker or training, and a person another launcher.
"""
