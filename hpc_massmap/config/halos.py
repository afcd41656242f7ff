"""Which halos there are, how their maps are drawn, and which of them train."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from hpc_massmap.config.section import LARGEST, Count, Name, Positive, Section, Seed
from hpc_massmap.views import VIEWS


class Simulation(Section):
    """Where one simulation's regions are: `folder/region/{snapshot files, catalogues}`."""

    name: Name
    """what its halos are called in maps, splits and reports"""
    folder: Path
    """where its regions are"""
    region: str = "NewMDCLUSTER_*"
    """pattern of the regions' folders"""
    snapshot: str = "snap_{snapshot:03d}.hdf5"
    """name of a snapshot in a region; of several files, of the first"""
    catalogue: str = "*snap_{snapshot:03d}.*z*.AHF_halos"
    """of one process, or the files of several"""
    snapshots: Annotated[list[Annotated[int, Field(ge=0, le=LARGEST)]], Field(min_length=1)]
    """numbers of the snapshots whose halos are taken, the latest last"""
    subvolumes: Annotated[int, Field(ge=1, le=100)] = 1
    """along each side of a region that is a whole periodic box: the split takes each for a region"""


class Flat(Section):
    """A sample flat in log10 M200: crowded bins are thinned, sparse ones filled from earlier snapshots (fig. 1)."""

    bin_width: Positive = 0.1
    """dex, from m200_min on"""
    per_bin: Count | None = None
    """halos; None: the median bin of the first simulation's latest snapshot"""
    seed: Seed = 0
    """of the choice where a bin offers more"""


class Selection(Section):
    """Which halos make the sample (section 2.1)."""

    m200_min: Positive = 10**13.5
    """Msun/h"""
    m200_max: Positive = 10**15.5
    """Msun/h"""
    uncontaminated: bool = True
    """fMhires == 1"""
    subhalos: bool = False
    """also those whose radius is not R200, but where their host begins"""
    flat: Flat | None = None
    """None: every halo that passes, of every snapshot"""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.m200_min >= self.m200_max:
            raise ValueError("m200_min must be less than m200_max")
        return self


class Band(Section):
    """One more X-ray map: of the photons between two energies in closed form, or of a table made for such."""

    energies: tuple[float, float] | None = None
    """keV, as emitted: [low, high] of bremsstrahlung"""
    cooling_table: Path | None = None
    """a file of massmap cooling_table --energies"""

    @model_validator(mode="after")
    def _one_emissivity(self) -> Self:
        if (self.energies is None) == (self.cooling_table is None):
            raise ValueError("needs energies: [low, high] in keV or cooling_table: FILE, and not both")
        if self.energies is not None and not 0 <= self.energies[0] < self.energies[1]:
            raise ValueError("energies must be [low, high] in keV with 0 <= low < high")
        return self


class Maps(Section):
    """How the maps are drawn (section 2.2)."""

    file: Path = Path("data/maps.h5")
    """the map file, which runs may share"""
    lines_of_sight: Count = 29
    """from which each halo is seen"""
    kernel: Literal["wendland_c4", "cubic_spline"] = "wendland_c4"
    """the smoothing kernel of the gas: the simulation's own"""
    accuracy: Literal["fast", "fine"] = "fast"
    """of the projection; fine: 1e-5 of a map in a wrong pixel, not 5e-4"""
    adaptive_smoothing: Count | None = None
    """kernel radius of dark matter and stars: distance of the k-th neighbour"""
    gas_rules: Literal["primordial", "pymsz"] = "primordial"
    """X = 0.76, none that forms stars; or those of PyMSZ"""
    bad_regions: Literal["stop", "skip"] = "stop"
    """what to do about one that cannot be read or drawn"""
    xray: Literal["bremsstrahlung", "table"] = "bremsstrahlung"
    """closed form, or a file of massmap cooling_table"""
    cooling_table: Path | None = None
    """a file of `massmap cooling_table`, for xray: table"""
    bands: dict[Name, Band] = {}
    """further X-ray maps by the names of their views"""

    @field_validator("bands")
    @classmethod
    def _names_are_free(cls, bands: dict[str, Band]) -> dict[str, Band]:
        for name in bands:
            if name in VIEWS:
                raise ValueError(f"{name} is the name of another map; choose one that is none of {', '.join(VIEWS)}")
        return bands

    @model_validator(mode="after")
    def _has_the_table_it_uses(self) -> Self:
        if (self.xray == "table") != (self.cooling_table is not None):
            raise ValueError("xray: table and cooling_table: FILE (of massmap cooling_table) need each other")
        return self


class Split(Section):
    """80/10/10; `halo` keeps a region, all its snapshots and both its simulations on one side, `map` does not."""

    policy: Literal["halo", "map"] = "halo"
    """halo: a region, all its snapshots and both its simulations stay on one side; map: they do not"""
    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """share of the regions, or maps, that train"""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share that validates; the rest is the test set"""
    seed: Seed = 0
    """of the draw"""
    log_m200: tuple[float, float] | None = None
    """whose maps train and validate, as the retrained models of appendix A: of halos in [low, high), M200 in
    Msun/h; none: of any. The test set is of all halos"""
    only: list[Name] = []
    """likewise, of these simulations; none: of all"""

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError("train + validation must be less than 1: the rest is the test set")
        if self.log_m200 is not None and self.log_m200[0] >= self.log_m200[1]:
            raise ValueError("log_m200 must be [low, high] with low less than high")
        return self


class Mock(Section):
    """A mock universe to write into the folders of the simulations (massmap mock): for scale, never for science."""

    halos: Count = 40
    """of each simulation, at each of its snapshots"""
    particles: Count = 50_000
    """of each halo"""
    files: Count = 1
    """of each snapshot whose pattern names a file 0"""
    seed: Seed = 0
    """of the universe"""
