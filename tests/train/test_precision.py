"""bf16 is for hardware that has it: elsewhere it would be emulated, which took a demo of minutes an hour."""

import platform
from pathlib import Path

import pytest
import torch

from hpc_massmap.train import precision
from hpc_massmap.train.precision import autocast, has_bf16, precision_on

CPU = torch.device("cpu")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags of other processors have other names")
def test_a_processor_is_asked_as_the_kernel_says() -> None:
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    assert has_bf16(CPU) == bool(flags & {"avx512_bf16", "amx_bf16"})


@pytest.mark.parametrize(("has", "asked", "computed"), [(True, "bf16", "bf16"), (False, "bf16", "fp32")])
def test_bf16_only_where_it_is(monkeypatch: pytest.MonkeyPatch, has: bool, asked: str, computed: str) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: has)
    assert precision_on(CPU, asked) == computed
    assert precision_on(CPU, "fp32") == "fp32"
    with autocast(asked, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if computed == "bf16" else torch.float32)
