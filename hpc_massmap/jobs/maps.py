#!/usr/bin/env python3
"""Map files: look at halos, check that a file can be right, or make one of the collaboration's finished maps."""

import argparse
from pathlib import Path

from hpc_massmap.cli import Parser, add_verb, plain_parser, run_job

SHOW = "massmap maps show runs/demo/maps.h5 --halo 0 17"
CHECK = "massmap maps check runs/demo/maps.h5"
PHOTONS = """massmap maps photons counts.fits --background background.fits --exposure exposure.fits
             --instrument configs/instruments/rosat.yaml --redshift 0.0597 --h 0.7 --omega-m 0.3
             --out clusters/A3158_xray.fits"""
IMPORT_EXAMPLE = """massmap maps import gadgetx.h5 simba.h5 the300.h5
             --simulation GADGET-X GIZMO-SIMBA --h 0.6777 --omega-m 0.307115
             --redshift 128:0 127:0.022 126:0.045 125:0.069 124:0.093 123:0.117"""


def arguments() -> Parser:
    parser = plain_parser("maps", __doc__, SHOW, CHECK)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show|check|import|photons")
    drawn = "draw the maps of halos, as fig. 2 of the paper does"
    show = add_verb(verbs, "show", drawn, SHOW)
    show.add_argument("file", type=Path, help="a map file")
    show.add_argument("--halo", type=int, nargs="+", required=True, metavar="H", help="rows of /halo, a column each")
    show.add_argument("--projection", type=int, default=0, metavar="P", help="the line of sight (default: 0)")
    show.add_argument("--out", type=Path, metavar="PNG", help="default: <file>_halo_H.png beside the file")
    checked = "check schema, pixels, digest, and totals against the catalogue's masses"
    check = add_verb(verbs, "check", checked, CHECK)
    check.add_argument("file", type=Path, help="a map file")
    take = add_verb(verbs, "import", "make a map file of the collaboration's HDF5 files", IMPORT_EXAMPLE)
    take.add_argument("files", type=Path, nargs="+", metavar="FILE", help="with Xray, SZ, star, total_mass, M_200, ...")
    take.add_argument("out", type=Path, metavar="OUT", help="the map file to make")
    take.add_argument("--simulation", nargs="+", required=True, metavar="NAME", help="one a file")
    take.add_argument(
        "--snapshot", type=int, metavar="N", help="default: the first three of the 15 digits of each halo's id"
    )
    take.add_argument(
        "--redshift",
        type=redshift,
        nargs="+",
        required=True,
        metavar="[N:]Z",
        help="of every halo, or of each snapshot N",
    )
    take.add_argument("--h", type=float, required=True, help="Hubble constant / 100 km/s/Mpc")
    take.add_argument("--omega-m", type=float, required=True, help="matter density at z = 0")
    take.add_argument("--xray-unit", default="erg / (s kpc2)", metavar="UNIT", help="of Xray (default: %(default)s)")
    take.add_argument(
        "--density-unit",
        default="Msun / (littleh kpc2)",
        metavar="UNIT",
        help="of star, total_mass and gas, as astropy writes it (default: %(default)s)",
    )
    image = "make an X-ray map for massmap predict --maps of a real image in photons"
    photons = add_verb(verbs, "photons", image, PHOTONS)
    photons.add_argument("counts", type=Path, help="photons in each pixel, with a WCS (FITS)")
    photons.add_argument(
        "--background", type=Path, required=True, metavar="FITS", help="those expected without a cluster"
    )
    photons.add_argument("--exposure", type=Path, required=True, metavar="FITS", help="s, vignetted; 0 where masked")
    what = "whose observe.views.xray.counts tells what a photon is worth"
    photons.add_argument("--instrument", type=Path, required=True, metavar="YAML", help=what)
    photons.add_argument("--redshift", type=float, required=True, metavar="Z", help="of the cluster")
    photons.add_argument("--h", type=float, required=True, help="Hubble constant / 100 km/s/Mpc")
    photons.add_argument("--omega-m", type=float, required=True, help="matter density at z = 0")
    photons.add_argument("--out", type=Path, required=True, metavar="FITS", help="NAME_xray.fits")
    return parser


def redshift(text: str) -> tuple[int | None, float]:
    """`0.022` or `127:0.022` as snapshot and redshift."""
    snapshot, _, value = text.rpartition(":")
    return (int(snapshot) if snapshot else None), float(value)


def show(args: argparse.Namespace) -> None:
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.progress import say
    from hpc_massmap.report.maps import maps_figure
    from hpc_massmap.report.style import png
    from hpc_massmap.storage import replacing

    figure = maps_figure(open_maps(args.file), args.halo, args.projection)
    out = args.out or args.file.with_name(f"{args.file.stem}_halo_{'_'.join(map(str, args.halo))}.png")
    image = png(figure)
    with replacing(out) as temporary:
        temporary.write_bytes(image)
    say(str(out))


def check(args: argparse.Namespace) -> None:
    from hpc_massmap.dataset.check import check_maps, summary
    from hpc_massmap.dataset.mapfile import describe, open_maps
    from hpc_massmap.errors import InputError
    from hpc_massmap.progress import progress, say

    maps = open_maps(args.file, ["mass"])
    with progress("checking", len(maps), "maps") as bar:
        checked = check_maps(maps, on_maps=bar.advance)
    say(describe(maps))
    say(summary(checked))
    for fault in checked.faults:
        say(f"fault: {fault}")
    if checked.faults:
        raise InputError(f"{args.file}: {len(checked.faults)} faults, one a line above")


def take(args: argparse.Namespace) -> None:
    from hpc_massmap.dataset.collaboration import Assumed, read_sources, redshifts_of
    from hpc_massmap.dataset.imported import import_maps
    from hpc_massmap.dataset.mapfile import describe, open_maps
    from hpc_massmap.progress import progress, say

    redshifts = redshifts_of(args.redshift)
    assumed = Assumed(args.h, args.omega_m, redshifts, args.snapshot, args.xray_unit, args.density_unit)
    sources = read_sources(args.files, args.simulation, assumed)
    with progress("reading", 2 * sum(len(source) for source in sources), "halos, each twice") as bar:
        import_maps(args.out, sources, assumed, on_halo=bar.advance)
    say(describe(open_maps(args.out)))


def photons(args: argparse.Namespace) -> None:
    from hpc_massmap.observe.images import read_telescope, write_brightness
    from hpc_massmap.progress import say

    telescope = read_telescope(args.instrument)
    images = args.counts, args.background, args.exposure
    say(write_brightness(args.out, images, telescope, args.redshift, args.h, args.omega_m))


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    {"show": show, "check": check, "import": take, "photons": photons}[args.verb](args)


if __name__ == "__main__":
    run_job(main)
