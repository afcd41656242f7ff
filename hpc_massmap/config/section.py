"""What every section of the config is made from: kinds of values, and a mapping that allows no other keys."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
LARGEST = 2**31 - 1  # of whole numbers: torch, HDF5 and BSON have no place for many more
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Rate = Annotated[float, Field(gt=0, le=1e30)]  # of learning; single precision has no place for many more
Level = Annotated[float, Field(gt=0, lt=1)]  # of a quantile
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class Section(BaseModel):
    """A mapping of the YAML file, in which no other key than its fields is allowed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
