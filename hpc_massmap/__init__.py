"""Total-mass maps of galaxy clusters from what telescopes see of them.

The folders are the stages of the data's journey, and imports only flow downwards:
sims -> maps -> dataset -> model -> train -> predict -> tune -> metrics -> report.
"""

__version__ = "0.1.0"
