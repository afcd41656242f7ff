#!/usr/bin/env python3
"""Make the table of the cooling function Lambda(T, Z) that `maps.xray=table` or a band of `maps.bands` reads.

Sums the collisional-ionisation-equilibrium spectrum of PyAtomDB over 0.001-100 keV, or over a band, at AtomDB's own
51 temperatures, log10 T = 4 to 9. Hydrogen and helium are solar, the metallicity scales all other elements.
Needs `pip install pyatomdb` and AtomDB's data, a download of some GB: `pyatomdb.util.initialize()`, then
`export ATOMDB=folder`.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from hpc_massmap.cli import Parser, plain_parser, run_job
from hpc_massmap.errors import InputError

ELEMENTS = [1, 2, 6, 7, 8, 14, 26]  # H He C N O Si Fe
ALL_ELEMENTS = list(range(1, 31))
METALLICITIES = [0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5]  # solar
FAINTEST = 1e-300  # erg cm^3/s: the table has logarithms, and cold gas may shine in no photon of a band
FILES = ("apec_line.fits", "apec_coco.fits", "userdata")  # the last is what PyAtomDB itself looks for


def arguments() -> Parser:
    bolometric = "massmap cooling_table data/cooling.h5"
    hard = "massmap cooling_table data/hard.h5 --energies 2 10"
    parser = plain_parser("cooling_table", __doc__, bolometric, hard)
    parser.add_argument("file", type=Path, help="the table to write, HDF5")
    parser.add_argument(
        "--energies", type=float, nargs=2, default=(1e-3, 100.0), metavar="KEV", help="of a band (default: 0.001 100)"
    )
    parser.add_argument("--all-elements", action="store_true", help="hydrogen to zinc, not H He C N O Si Fe alone")
    parser.add_argument("--abundances", default="AG89", help="solar abundances by AtomDB's name (default AG89)")
    return parser


def atomdb() -> Any:
    """PyAtomDB; it asks questions on the terminal when it is imported without data, so they are looked for first."""
    folder = os.environ.get("ATOMDB")
    missing = [name for name in FILES if folder is None or not (Path(folder) / name).exists()]
    if missing:
        where = "the variable ATOMDB is not set" if folder is None else f"{folder}: {', '.join(missing)} missing"
        raise InputError(f"{where}; get AtomDB's data by pyatomdb.util.initialize(), then export ATOMDB=its folder")
    try:
        return importlib.import_module("pyatomdb")
    except ImportError as error:
        raise InputError(f"PyAtomDB cannot be imported ({error}); pip install pyatomdb") from None


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    low, high = args.energies
    if not 0 < low < high < float("inf"):
        raise InputError(f"--energies {low:g} {high:g}: must be two energies in keV, the lower first, above 0")
    pyatomdb = atomdb()

    import numpy as np
    from astropy import units as u

    from hpc_massmap.maps.cooling import CoolingTable, write_cooling_table

    abundances = pyatomdb.atomdb.get_abundance(abundset=args.abundances)
    if not isinstance(abundances, dict):  # it returns -1
        raise InputError(f"--abundances {args.abundances}: AtomDB has no such set; its names are printed above")
    elements = ALL_ELEMENTS if args.all_elements else ELEMENTS
    session = pyatomdb.spectrum.CIESession(elements=elements, abundset=args.abundances)
    session.set_eebrems(True)
    edges = np.geomspace(low, high, 20_001)  # keV
    session.set_response(edges, raw=True)
    energy = (np.sqrt(edges[1:] * edges[:-1]) * u.keV).to_value(u.erg)
    log_temperature = np.linspace(4, 9, 51)
    cooling = np.empty((len(log_temperature), len(METALLICITIES)))
    for j, metallicity in enumerate(METALLICITIES):
        session.set_abund(elements[2:], metallicity)
        for i, log_t in enumerate(log_temperature):
            photons = session.return_spectrum(10**log_t, teunit="K", nearest=True)  # cm^3/s per bin, over n_e n_H
            cooling[i, j] = max(photons @ energy, FAINTEST)

    mass = {z: abundances[z] * pyatomdb.atomic.Z_to_mass(z) for z in ALL_ELEMENTS}
    solar = sum(mass[z] for z in ALL_ELEMENTS[2:]) / sum(mass.values())
    provenance = (
        f"massmap cooling_table, pyatomdb {pyatomdb.__version__}, {os.path.realpath(session.linefile)}, "
        f"elements {elements}, {low:g}-{high:g} keV, with electron-electron bremsstrahlung"
    )
    table = CoolingTable(
        log_temperature, np.array(METALLICITIES, float), cooling, args.abundances, float(solar), provenance
    )
    write_cooling_table(args.file, table)
    print(f"{args.file}: Lambda at {cooling.size} points, solar metallicity {solar:.4f} ({args.abundances})")


if __name__ == "__main__":
    run_job(main)
