"""Finished batches of a prediction that takes long, so that one that was killed goes on where it was.

One file a batch, in a folder beside the file of predictions, until that is whole. A batch holds the same bits whichever
rank computed it, so that any number of ranks goes on. Twice the place is taken meanwhile.
"""

import shutil
from dataclasses import dataclass, fields
from pathlib import Path

from hpc_massmap import __version__
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import attribute_of, dataset_of, new_hdf5, opened, values_of
from hpc_massmap.predict.kept import Kept
from hpc_massmap.storage import digest_of

PARTS = [field.name for field in fields(Kept)]


@dataclass(frozen=True)
class Pieces:
    """Those of one file of predictions.

    Attributes
    ----------
    key : of all that they depend on; others are not read
    """

    folder: Path
    key: str

    @classmethod
    def of(cls, path: Path, *depends_on: object) -> "Pieces":
        """Those of a file of predictions and of what these depend on, as JSON has it."""
        return cls(path.with_name(f"{path.name}.parts"), digest_of([__version__, *depends_on]))

    def write(self, batch: int, predicted: Kept) -> None:
        """Keep a batch, whole or not at all."""
        with new_hdf5(self._path(batch)) as file:
            for name in PARTS:
                file.create_dataset(name, data=getattr(predicted, name), fletcher32=True)
            file.attrs["key"] = self.key

    def read(self, batch: int) -> Kept | None:
        """A batch; None if it is missing, cannot be read, or is of something else."""
        path = self._path(batch)
        if not path.is_file():
            return None
        try:
            with opened(path, f"{path}: not a readable part") as file:
                if attribute_of(file, "key") != self.key:
                    return None
                return Kept(**{name: values_of(dataset_of(file, name)) for name in PARTS})
        except InputError:
            return None

    def discard(self) -> None:
        """Once the file of predictions is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, batch: int) -> Path:
        return self.folder / f"{batch:05d}.h5"
