"""A device without hardware: its tensors are in the host's memory, but nothing computes with both kinds.

What fails on a CUDA device because a tensor or a generator is on the wrong side fails on this device, too. The arithmetic
is the CPU's. Streams, pinned memory, asynchronous copies and autocast are not imitated.
"""

from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map_only

import tenet.device
import tenet.doctor.memory
import tenet.experiment.parts

IS_POSSIBLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
NAME = "toy"
# Torch's own names for it; `Device.set_up` registers the other.
TYPE, TYPE_KEY = "privateuseone", "PrivateUse1"
aten = torch.ops.aten
# As on CUDA, these take tensors from both sides.
COPIES = (aten.copy_.default, aten._to_copy.default)
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class DeviceTensor(torch.Tensor):
    """A tensor that says it is on the device. `host` holds its values; a view of it holds a view of them."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> "DeviceTensor":
        self = torch.Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            device=torch.device(TYPE, 0),
        )  # fmt: skip
        self.host = host
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(operator, *args, **(kwargs or {}))

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.host})"

    def tolist(self) -> Any:
        return self.host.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.host.__reduce_ex__(protocol)  # in a file, as with map_location="cpu"


class DeviceGenerator(torch._C.Generator):
    """A generator for tensors of the device; the numbers are the CPU's."""

    device = torch.device(TYPE, 0)


# By address: an operator is given another Python object for the same generator.
GENERATORS: WeakValueDictionary[int, DeviceGenerator] = WeakValueDictionary()


class Generator(torch._C.Generator):
    """torch.Generator, which can't be extended to another device from Python, for both."""

    def __new__(cls, device: Any = "cpu") -> Any:
        if torch.device(device).type != NAME:
            return super().__new__(torch._C.Generator, device)
        generator = DeviceGenerator()
        GENERATORS[generator._cdata] = generator
        return generator


class Device:
    """Registers the device in the process of a command, where `trainer.device=auto` and `device=auto` find it."""

    def set_up(self) -> None:
        # Before the first backward pass, which starts a thread for each device.
        module = SimpleNamespace(
            is_available=lambda: True, is_initialized=lambda: True, _is_in_bad_fork=lambda: False,
            device_count=lambda: 1, current_device=lambda: 0, manual_seed_all=lambda seed: None,
            get_amp_supported_dtype=lambda: [torch.bfloat16],
        )  # fmt: skip
        backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=module)
        self.operators = torch.library.Library("_", "IMPL")
        self.operators.fallback(compute, TYPE_KEY)
        # torch.tensor(values, device=...) does not find the fallback.
        self.copy = torch.library.Library("aten", "IMPL")
        self.copy.impl("copy_", lambda *args: compute(aten.copy_.default, *args), TYPE_KEY)
        torch.Generator = Generator
        for user in (tenet.device, tenet.experiment.parts):
            user.pick_device = lambda name, key="": torch.device(NAME if name == "auto" else name)
        tenet.doctor.memory.ALLOCATOR_FACTORS[NAME] = 1.0


def compute(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute on the host what the operator gives. Raises RuntimeError if its inputs are on both sides."""
    leaves = tree_leaves((args, kwargs))
    ours = [leaf for leaf in leaves if isinstance(leaf, DeviceTensor)]
    asked = kwargs.get("device")
    if operator is aten.copy_.default:
        is_ours = isinstance(args[0], DeviceTensor)
    else:
        is_ours = bool(ours) if asked is None else torch.device(asked).type == NAME
    if ours and operator not in COPIES:
        check_tensors(operator, args, leaves)
    for leaf in leaves:
        if isinstance(leaf, torch._C.Generator) and (leaf._cdata in GENERATORS) != is_ours:
            raise RuntimeError(f"{operator}: the generator is on another device than the tensor")
    args, kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.host, (args, kwargs))
    if asked is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    result = operator(*args, **kwargs)
    if not is_ours:
        return result
    given = {id(one.host): one for one in ours}  # operators that work in place return their argument
    return tree_map_only(
        Tensor, lambda host: given[id(host)] if id(host) in given else DeviceTensor(host), result
    )


def check_tensors(operator: Any, args: Any, leaves: list[Any]) -> None:
    """Raise RuntimeError for a tensor on the host among those of the device, unless CUDA takes it: the indices of a
    tensor of the device, and a number that is only read."""
    free = tree_leaves(args[1]) if operator in INDEXING and isinstance(args[0], DeviceTensor) else []
    written = args[0] if operator._schema.is_mutable else None
    for leaf in leaves:
        if not isinstance(leaf, Tensor) or isinstance(leaf, DeviceTensor) or any(leaf is one for one in free):
            continue
        if leaf.dim() > 0 or leaf is written or operator is aten.stack.default:
            raise RuntimeError(
                f"{operator}: tensors on {NAME} and on the CPU, {list(leaf.shape)} {leaf.dtype}"
            )
