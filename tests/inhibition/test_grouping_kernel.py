"""The grouping kernel returns the results of the plain rounds; Triton's interpreter runs it without a GPU."""

import os
import subprocess
import sys
import warnings

import pytest
import torch

from tenet.inhibition import grouping

pytest.importorskip("triton", reason="torch includes Triton only on Linux")

QUESTIONS = """
import torch
from tenet.inhibition.grouping import cluster, trusted_kernel
from tenet.inhibition.grouping_kernel import cluster_on_device
from tests import golden

assert trusted_kernel(torch.device("cpu")) is cluster_on_device
for name in golden.INHIBITION_FILES:
    values = golden.load(name)
    few = {"max_iterations": 50, "tolerance": 1e-4}
    answer = cluster_on_device(values["features"][:2], values["initial_medoids"][:2], **few)
    assert torch.equal(answer, values["assignments"][:2]), name
torch.manual_seed(0)
for channels, size, groups, iterations in [(17, 3, 7, 50), (33, 9, 1, 50), (16, 4, 16, 50), (24, 5, 5, 1)]:
    features = torch.randn(2, channels, size, size).relu().to(torch.bfloat16)
    medoids = torch.rand(2, channels).argsort(dim=1)[:, :groups].contiguous()
    few = {"max_iterations": iterations, "tolerance": 1e-4}
    assert torch.equal(cluster_on_device(features, medoids, **few), cluster(features, medoids, **few)), groups
# With NaN the kernel still ends, and returns valid group ids.
features[0, 3, 1, 1] = torch.nan
answer = cluster_on_device(features, medoids, max_iterations=3, tolerance=1e-4)
assert answer.min() >= 0 and answer.max() < 5
"""

# Compiles the kernel for a GPU of the Hopper generation, without a GPU.
BUILD = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tenet.inhibition.grouping_kernel import _cluster_sample as kernel

constants = {"tolerance": 1e-4, "channels": 512, "positions": 256, "groups": 6, "group_slots": 8,
             "channel_slots": 512, "block_channels": 16, "block_positions": 64}
types = {"points": "*bf16", "medoids": "*i64", "answer": "*i64", "squares": "*fp64", "centers": "*fp64",
         "center_squares": "*fp64", "distances": "*fp32", "max_iterations": "i32"}
signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
source = ASTSource(fn=kernel, signature=signature, constexprs=places)
built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
assert len(built.asm["cubin"]) > 1000
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "interpret"),
    [
        pytest.param(QUESTIONS, "1", id="equals the plain rounds"),
        pytest.param(BUILD, "0", id="builds for a GPU", marks=pytest.mark.alone),
    ],
)
def test_the_kernel(code, interpret):
    # In a separate process: Triton reads TRITON_INTERPRET when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_kernel_that_fails_or_returns_another_result_is_not_used(monkeypatch):
    import tenet.inhibition.grouping_kernel as module

    def wrong(features, medoids, **limits):
        return grouping.cluster(features, medoids, **limits).flip(1)

    def broken(features, medoids, **limits):
        raise RuntimeError("no compiler\nis here")

    for kernel, reason in [(wrong, "its result differs"), (broken, "RuntimeError: no compiler")]:
        monkeypatch.setattr(module, "cluster_on_device", kernel)
        grouping.trusted_kernel.cache_clear()
        with pytest.warns(UserWarning, match=rf"not used on cpu \({reason}\)"):
            assert grouping.trusted_kernel(torch.device("cpu")) is None
    grouping.trusted_kernel.cache_clear()


def test_the_plain_rounds_are_used_on_a_cpu():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grouping.group_channels(torch.rand(2, 8, 3, 3), groups=2)
    assert grouping.trusted_kernel.cache_info().currsize == 0
