import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode

from tenet.augment import AugMix, Standard
from tenet.augment.augmix import NO_OPERATOR, OPERATORS, AugMixDraws, draw_mixing, mix
from tests.augment import pillow_reference
from tests.augment.pictures import pictures

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = {"severity": 3.0, "width": 3, "depth": 0, "alpha": 1.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(batch, **settings):
    return draw_mixing(batch, **(OFFICIAL | settings), generator=seeded())


@pytest.mark.parametrize(
    ("kind", "size", "channels"), [("smooth", (32, 32), 3), ("noise", (33, 20), 3), ("smooth", (28, 28), 1)]
)
@pytest.mark.parametrize("severity", [3.0, 9.0])
def test_mix_equals_the_official_pipeline_on_the_same_choices(kind, size, channels, severity):
    images = pictures(kind, batch=32, size=size, channels=channels)
    mixing = drawn(32, severity=severity)
    difference = (mix(images, mixing=mixing) - pillow_reference.mix(images, mixing)).abs() * 255
    assert difference.mean() < 0.02
    # One value off before a step such as solarize can become many after it.
    assert (difference < 1).float().mean() > 0.999


def test_mix_without_geometry_equals_the_official_pipeline_exactly():
    images = pictures("smooth", batch=48)
    mixing = drawn(48)
    tables = torch.tensor(
        [OPERATORS.index(name) for name in ("autocontrast", "equalize", "posterize", "solarize")]
    )
    operators = torch.where(mixing.operators == NO_OPERATOR, NO_OPERATOR, tables[mixing.operators % 4])
    mixing = mixing._replace(operators=operators)
    assert torch.allclose(mix(images, mixing=mixing), pillow_reference.mix(images, mixing), atol=1e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_changes_images_at_severity_3(name):
    images = pictures("smooth", batch=32)
    mixing = drawn(32, width=1, depth=1)
    mixing = mixing._replace(
        operators=torch.full_like(mixing.operators, OPERATORS.index(name)),
        levels=torch.full_like(mixing.levels, 3.0),
        mixture_weights=torch.ones(32),
    )
    change = (mix(images, mixing=mixing) - images.float() / 255).abs()
    assert (change.mean((1, 2, 3)) > 0.005).all()


def test_image_is_unchanged_where_the_mixture_has_no_weight():
    images = pictures("noise")
    mixing = drawn(len(images))._replace(mixture_weights=torch.zeros(len(images)))
    assert torch.allclose(mix(images, mixing=mixing), images.float() / 255)


def test_mixture_weights_are_uniform_for_alpha_1():
    mixing = drawn(20_000)
    assert stats.kstest(mixing.mixture_weights.numpy(), stats.uniform.cdf).pvalue > 1e-3
    # Each share of a flat Dirichlet over three is Beta(1, 2).
    for chain in range(3):
        assert stats.kstest(mixing.chain_weights[:, chain].numpy(), stats.beta(1, 2).cdf).pvalue > 1e-3
    assert torch.allclose(mixing.chain_weights.sum(1), torch.ones(20_000))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 4.0])
def test_weights_follow_alpha(alpha):
    mixing = drawn(5_000, alpha=alpha, width=4)
    assert mixing.mixture_weights.mean() == pytest.approx(0.5, abs=0.03)
    assert mixing.mixture_weights.var() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.1)
    assert mixing.chain_weights.mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.03)
    assert mixing.chain_weights[:, 0].var() == pytest.approx(3 / 16 / (4 * alpha + 1), rel=0.15)


def test_depths_are_uniform_on_1_to_3():
    depths = (drawn(10_000).operators != NO_OPERATOR).sum(2)
    shares = depths.flatten().bincount(minlength=4) / depths.numel()
    assert shares.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.01)


def test_chains_end_and_do_not_start_again():
    at_work = (drawn(1_000).operators != NO_OPERATOR).int()
    assert (at_work.diff(dim=2) <= 0).all()


@pytest.mark.parametrize("depth", [1, 4])
def test_fixed_depth_is_the_depth_of_every_chain(depth):
    operators = drawn(500, depth=depth).operators
    assert operators.shape == (500, 3, depth)
    assert (operators != NO_OPERATOR).all()


def test_operators_levels_and_signs_are_uniform():
    mixing = drawn(10_000, depth=2)
    shares = mixing.operators.flatten().bincount(minlength=9) / mixing.operators.numel()
    assert shares.tolist() == pytest.approx([1 / 9] * 9, abs=0.01)
    levels = mixing.levels.flatten().numpy()
    assert stats.kstest(levels[:20_000], stats.uniform(0.1, 2.9).cdf).pvalue > 1e-3
    assert set(mixing.signs.unique().tolist()) == {-1, 1}
    assert mixing.signs.mean() == pytest.approx(0, abs=0.02)


def test_choices_are_independent_between_samples_chains_and_steps():
    mixing = drawn(5_000, depth=3)
    columns = torch.cat(
        [mixing.levels.flatten(1), mixing.signs.flatten(1), mixing.operators.flatten(1).float()], 1
    )
    correlations = torch.corrcoef(columns.T) - torch.eye(columns.shape[1])
    assert correlations.abs().max() < 0.08
    assert len(mixing.levels.unique()) > 0.99 * mixing.levels.numel()


def test_same_seed_gives_the_same_batch_and_another_seed_does_not():
    images = pictures("smooth")
    for view in AugMix().views:
        first = view(images, generator=seeded(1))
        assert torch.equal(first, view(images, generator=seeded(1)))
        assert not torch.equal(first, view(images, generator=seeded(2)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "smooth", "constant"])
def test_views_stay_in_unit_range(kind, channels):
    images = pictures(kind, batch=48, channels=channels)
    for view in AugMix(severity=10.0).views:
        augmented = view(images, generator=seeded())
        assert augmented.dtype == torch.float32
        assert augmented.shape == images.shape
        assert augmented.min() >= 0
        assert augmented.max() <= 1


def test_rounding_does_not_make_white_brighter_than_1():
    white = torch.full((500, 1, 4, 4), 255, dtype=torch.uint8)
    mixing = drawn(500)
    mixing = mixing._replace(operators=torch.full_like(mixing.operators, NO_OPERATOR))
    assert mix(white, mixing=mixing).max() == 1


def test_samples_of_a_batch_are_augmented_differently():
    images = pictures("smooth", batch=1).expand(32, -1, -1, -1)
    augmix_view, _ = AugMix(flip=False, padding=0).views
    assert len(augmix_view(images, generator=seeded()).unique(dim=0)) == 32


def test_augmix_view_starts_from_the_flipped_and_cropped_image():
    images = pictures("smooth", batch=64)
    augmix_view, clean_view = AugMix(alpha=1.0).views
    # Both draw flip and offsets first, so the same seed gives both the same crop.
    augmented, clean = augmix_view(images, generator=seeded()), clean_view(images, generator=seeded())
    change = (augmented - clean).abs().mean((1, 2, 3))
    mixing_free = (augmented - images.float() / 255).abs().mean((1, 2, 3))
    assert change.mean() < 0.6 * mixing_free.mean()


def test_clean_view_is_the_standard_augmentation():
    images = pictures("noise")
    clean_view = AugMix(padding=2).views[1]
    (standard_view,) = Standard(padding=2).views
    assert torch.equal(clean_view(images, generator=seeded()), standard_view(images, generator=seeded()))


def test_clean_view_can_be_left_out():
    assert len(AugMix().views) == 2
    assert len(AugMix(clean_view=False).views) == 1


def test_nothing_waits_for_or_depends_on_drawn_values():
    # A fake tensor holds no values: whatever reads one (item, a mask as an index, nonzero) raises. The random
    # draws are given, since a generator makes true values.
    with FakeTensorMode() as mode:
        images = mode.from_tensor(pictures("noise"))
        mixing = AugMixDraws(*(mode.from_tensor(choice) for choice in drawn(24)))
        assert mix(images, mixing=mixing).shape == images.shape


def test_a_device_other_than_the_cpu_needs_no_values_from_the_host():
    # On the meta device, a tensor made on the host and left there is an error.
    images = pictures("noise").to("meta")
    mixed = mix(images, mixing=AugMixDraws(*(choice.to("meta") for choice in drawn(24))))
    assert mixed.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_views_on_a_gpu_never_wait_for_the_host():
    images = pictures("smooth").cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    views = AugMix().views
    for view in views:
        view(images, generator=generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        augmented = [view(images, generator=generator) for view in views]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(batch.is_cuda and batch.isfinite().all() for batch in augmented)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_mix_on_a_gpu_equals_the_official_pipeline():
    images, mixing = pictures("smooth"), drawn(24)
    mixed = mix(images.cuda(), mixing=AugMixDraws(*(choice.cuda() for choice in mixing))).cpu()
    difference = (mixed - pillow_reference.mix(images, mixing)).abs() * 255
    assert (difference < 1).float().mean() > 0.999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"severity": 0.0}, r"^severity=0.0 must be a number of at least 0.1 and at most 10"),
        ({"severity": 11}, r"^severity=11 must be a number of at least 0.1 and at most 10"),
        ({"severity": float("nan")}, r"^severity=nan must be"),
        ({"width": 0}, r"^width=0 must be an integer of at least 1"),
        ({"depth": -1}, r"^depth=-1 must be an integer of at least 0"),
        ({"alpha": 0.0}, r"^alpha=0.0 must be a number of at least 0.1"),
        ({"padding": -4}, r"^padding=-4 must be an integer of at least 0"),
    ],
)
def test_augmix_refuses_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        AugMix(**arguments)


def test_official_recipe_is_the_default():
    defaults = {name: parameter.default for name, parameter in inspect.signature(AugMix).parameters.items()}
    assert defaults == OFFICIAL | {"flip": True, "padding": 4, "clean_view": True}


def test_views_refuse_images_that_are_not_uint8():
    for view in AugMix().views:
        with pytest.raises(TypeError):
            view(torch.rand(2, 3, 8, 8), generator=seeded())


COMPILED = """
import sys
import torch
from torch._dynamo.utils import counters
from tenet.augment import AugMix
from tests.augment.pictures import pictures

plain, compiled = AugMix(), AugMix()
device, backend = sys.argv[1:]
compiled.compile(backend=backend)
for batch in (5, 24, 17):
    images = pictures("smooth", batch=batch).to(device)
    for view, same in zip(plain.views, compiled.views, strict=True):
        expected, given = (
            seen(images, generator=torch.Generator(device).manual_seed(batch)) for seen in (view, same)
        )
        # Where the order of roundings may change, one value off before a step can become many after it.
        difference = (expected - given).abs() * 255
        assert difference.max() == 0 if backend == "aot_eager" else (difference < 1).float().mean() > 0.999
assert counters["stats"]["unique_graphs"] == 1, counters
"""


@pytest.mark.parametrize(
    ("device", "backend"),
    [
        # aot_eager: the graphs of the real one, without its minute of compiling.
        pytest.param("cpu", "aot_eager", marks=pytest.mark.alone),
        pytest.param("cpu", "inductor", marks=pytest.mark.compiler),
        pytest.param(
            "cuda",
            "inductor",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_compiled_augmix_is_one_graph_for_batches_of_all_sizes_and_does_the_same(device, backend):
    # In a process of its own: the compiler does not see through the checks of types that all tests run under.
    command = [sys.executable, "-c", COMPILED, device, backend]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
