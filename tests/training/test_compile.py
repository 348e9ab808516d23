"""Compiled networks: the same training, in few graphs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

COMPILED = """
import sys
from functools import partial
from pathlib import Path

import torch
from tenet.networks import compile_network
from tests.training.runs import run

folder = Path(sys.argv[1])
eager = run(folder / "eager", epochs=1)
# The graphs of the real backend, without its minute of compiling.
compiles = partial(compile_network, batch_size=8, backend="aot_eager")
compiled = run(folder / "compiled", epochs=1, compiles=compiles)
assert eager.method.counters() == compiled.method.counters()
pairs = zip(eager.network.state_dict().items(), compiled.network.state_dict().items(), strict=True)
for (name, value), (compiled_name, other) in pairs:
    assert name == compiled_name
    torch.testing.assert_close(other, value, rtol=1e-4, atol=1e-5)
"""

GRAPHS = """
import torch
from tenet.networks import Network, compile_network
from tests.methods.steps import inhibit
from tests.training.runs import make_backbone

ran, graphs = [], []

def backend(graph, inputs):
    number = len(graphs)
    graphs.append(graph)

    def run(*inputs):
        ran.append(number)
        return graph(*inputs)

    return run

network = Network(make_backbone(), cut="stage_2")
compile_network(network, batch_size=8, backend=backend)

def graphs_of(batch, is_inhibited):
    ran.clear()
    images, labels = torch.rand(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.int64)
    if is_inhibited:
        inhibit(network, images, labels).loss.backward()
    else:
        network.train()(images).sum().backward()
    return list(ran)

plain, inhibited = graphs_of(8, False), graphs_of(5, True)
assert len(plain) == len(set(plain)) == 5, plain  # four stages and the head
assert len(inhibited) == 10 and not set(inhibited) & set(plain), inhibited
for batch in (7, 6):
    assert graphs_of(8, False) == plain
    assert graphs_of(batch, True) == inhibited
"""


@pytest.mark.alone
@pytest.mark.parametrize("program", [COMPILED, GRAPHS], ids=["trains the same", "has two graphs a region"])
def test_a_compiled_network(tmp_path, program):
    # In a process of its own: the compiler does not see through the type checks that all tests run under.
    done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
