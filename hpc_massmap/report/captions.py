"""Captions of the figures: what each shows, which of the paper's it is, and how the paper's looks."""

from hpc_massmap.report import figures, paper
from hpc_massmap.report.importance import FEWEST

SAMPLE = (
    "Number of halos by mass (fig. 1). Dashed: the masses that split the sample in three equal parts. The paper's "
    f"sample is approximately flat, with the lines at {paper.TERCILES[0]} and {paper.TERCILES[1]}."
)
MAPS = (
    "Maps of four halos, from the least massive to the most, along the first line of sight (fig. 2). A row has one "
    "logarithmic scale. Circles: R200, and R500 dashed."
)
SIMULATIONS = (
    "Number of halos of each simulation by mass (fig. A1). The paper has "
    + " and ".join(f"{number} of {name}" for name, number in paper.HALOS.items())
    + f", from snapshots between z = 0 and {paper.HIGHEST_REDSHIFT}, with the same distribution."
)
FRACTIONS = {
    "gas": "In the paper GADGET-X's is more constant, GIZMO-SIMBA's falls towards groups; they meet at high mass.",
    "star": "In the paper the simulations differ in the opposite sense to gas; they meet at high mass.",
}
PIXELS = "Density of D = (prediction - truth)/truth of all pixels of all test maps, in three apertures (fig. 6)."
BIAS = "Bias of the {quantity} inside R by mass interval (fig. 7): median, and 16th to 84th percentile as a band."
POWER = (
    "Power spectra of true and predicted maps and their relative difference (fig. 8): median, and 16th to 84th "
    f"percentile; the difference is drawn up to ±{figures.CUT:g}."
)
MMD = (
    "Squared maximum mean discrepancy between the pixel values of truth and prediction by mass (fig. 9): median, and "
    "16th to 84th percentile. Dashed: truth against truth with noise of α times its maximum."
)
PARALLEL = (
    "Every finished trial as a line through its hyperparameters to its loss, in the colour of its loss. "
    f"From {FEWEST} finished trials on, another figure says which of them matter."
)
IMPORTANCE = (
    "Share of the variance of the trials' ranks (by loss, over the space that was tried) that each hyperparameter "
    "explains by itself, and what only several explain together: functional ANOVA of a random forest (Hutter et al. "
    "2014). The forest's R² for trials that it was not grown on says how far to trust it:"
)

EXAMPLE_OF_MODELS = (
    "One test map: left the inputs and the truth, then what each model predicts, and prediction minus truth (fig. 5). "
    "It is the one of the middle third of masses whose error is the median for {name}. Truth and predictions share a "
    "scale, and so do the residuals. Dashed circles: R500."
)
PIXELS_OF_MODELS = (
    "Density of D = (prediction - truth)/truth of all pixels of all test maps, in three apertures (fig. 6); the legend "
    "gives the median and its distances to the 84th and 16th percentile."
)
BIAS_OF_MODELS = (
    "Bias of the {quantity} inside R by mass interval (fig. 7): models of one view above, of several below; median, "
    "and 16th to 84th percentile as a band."
)
POWER_OF_MODELS = (
    "Power spectra of truth (dark) and prediction against wavelength (top) and their relative difference (bottom), "
    "a column a model (fig. 8): median, and 16th to 84th percentile as a band."
)
MMD_OF_MODELS = (
    "Median squared maximum mean discrepancy between the pixel values of truth and prediction by mass (fig. 9). "
    "Dashed: truth against truth with noise of α times its maximum."
)
RETRAINED = (
    "Bias of the {quantity} inside R of retrained models, over the test maps of the kind each was trained on "
    "(fig. A4): median, and 16th to 84th percentile as a band. Dashed and dotted: median and percentiles of {name} on "
    "these."
)


SAMPLE_POWER = " Dash-dotted: median of the mean power of the samples of each map."


def power(target: str, has_samples: bool) -> str:
    """The caption of figure 8, with the paper's words if it has the same quantity."""
    return POWER + SAMPLE_POWER * has_samples + power_of_paper(target)


def power_of_paper(target: str) -> str:
    """What follows in a caption of figure 8 if the paper has the same quantity."""
    return f" {paper.POWER}" if target == paper.TARGET else ""
