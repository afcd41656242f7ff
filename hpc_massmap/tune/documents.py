"""What a trial's document must be: plain numbers, strings and lists of the right types, or it is not read.

A database that several processes and people write to is not trusted. A document of a wrong shape is left out with
one line, so that it neither breaks a worker nor moves a suggestion.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpc_massmap.progress import say

Document = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=2**53)]  # MongoDB has no larger ones than 2**63
Finite = Annotated[float, Field(allow_inf_nan=False)]
LONGEST = 100_000  # entries of any list; a trial has hundreds of epochs at most

_told: set[str] = set()


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Misc(_Strict):
    tid: Count
    vals: dict[str, Annotated[list[Finite], Field(max_length=1)]]


class _Result(_Strict):
    status: Literal["new", "ok", "fail"]
    loss: Finite | None = None
    history: Annotated[list[Finite], Field(max_length=LONGEST)] = []
    seconds: Annotated[list[Finite], Field(max_length=LONGEST)] = []
    pruned: bool = False


class _Worker(_Strict):
    id: str
    host: str
    pid: int
    slurm_job: str | None


class _Error(_Strict):
    type: str
    message: str
    traceback: str


class _Trial(_Strict):
    tid: Count
    state: Annotated[int, Field(ge=0, le=3)]
    version: Count
    attempts: Count
    misc: _Misc
    result: _Result
    worker: _Worker | None = None
    error: _Error | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "_Trial":
        if self.misc.tid != self.tid:
            raise ValueError("misc.tid is not tid")
        if self.state == 2 and (self.result.status != "ok" or self.result.loss is None):
            raise ValueError("done without a loss")
        if self.state == 2 and self.result.history and self.result.loss != min(self.result.history):
            raise ValueError("its loss is not the least of its epochs'")
        return self


def fault_of(document: Document) -> str | None:
    """What is wrong with a trial's document, in one line without its control characters; None if it is sound."""
    try:
        _Trial.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "document"
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        return plain(f"trial {document.get('tid')!r}: {key}: {message}", 200)
    return None


def sound(documents: list[Document]) -> list[Document]:
    """The documents that are what they should be; each other one is named in one line, once."""
    kept = []
    for document in documents:
        fault = fault_of(document)
        if fault is None:
            kept.append(document)
        elif fault not in _told:
            _told.add(fault)
            say(f"the database holds a document that is left out: {fault}")
    return kept


def plain(text: str, length: int) -> str:
    """Text that a terminal shows as it is: one line, no control characters, not endless."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
