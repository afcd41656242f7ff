"""Which trials end early: asynchronous successive halving (Li et al. 2020), its stopping variant.

A trial is judged once at each rung, alone and at once: nobody waits for others to arrive, so a trial that comes early
goes on more easily than one that comes late. What it costs is now and then a good trial that starts slowly.
"""

from hpc_massmap.config import Pruning


def ends_early(history: list[float], others: list[list[float]], rule: Pruning) -> bool:
    """Whether a trial that has just finished an epoch should end there.

    At epochs `first` x `reduction`^n it goes on only if its best loss so far is among the best 1/`reduction` of all
    trials that came as far, itself included. Ties go on, and so do the first `reduction` - 1 trials.

    The best loss so far, not the last: it is what the trial will be judged by in the end, and one bad epoch
    (the validation loss jumps by several percent) should not end a good trial.

    Parameters
    ----------
    history : validation loss of each epoch of this trial so far
    others : the same of all other trials, finished, pruned and running ones, of any length
    """
    epochs = len(history)
    if not _is_rung(epochs, rule):
        return False
    rivals = [min(other[:epochs]) for other in others if len(other) >= epochs]
    better = sum(rival < min(history) for rival in rivals)
    seen = len(rivals) + 1
    return seen >= rule.reduction and better * rule.reduction >= seen


def _is_rung(epochs: int, rule: Pruning) -> bool:
    rung = rule.first
    while rung < epochs:
        rung *= rule.reduction
    return rung == epochs
