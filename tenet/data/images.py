"""Images that stay on disk: decoded and cut by worker processes while the network trains on the ones before."""

import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from multiprocessing import parent_process
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tenet.data.crops import Crops, Planned, Size
from tenet.data.decode import decode
from tenet.data.index import ImageIndex
from tenet.data.source import ImageBatch, ImageSource
from tenet.errors import DatasetError
from tenet.failures import is_out_of_memory
from tenet.files.weights import checksum

# How many images a worker decodes at a time, and how many such parts it prepares ahead. Small enough for the 64 MB of
# shared memory that containers have by default: 8 workers prepare 58 MB of images of 224 x 224 pixels.
PART, PARTS_AHEAD = 16, 3
MAX_BATCH_BYTES = 2**31
AUTO_WORKERS, PARENT_CHECK_S = 8, 1.0
STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP}


class Images(ImageSource):
    """Image files, which worker processes read, decode and cut to one size.

    index: the files and their labels. crops: which part of each is kept; without `crops.crop`, all images must have
    one size. workers: how many processes; 0 decodes in this one, None takes one for each core, at most AUTO_WORKERS.
    The images do not depend on it. size: the width and height that images must have; by default those of the first.
    """

    def __init__(
        self,
        index: ImageIndex,
        crops: Crops | None = None,
        *,
        workers: int | None = 0,
        size: Size | None = None,
    ) -> None:
        self.index, self.crops, self.size = index, crops or Crops(), size
        self.workers = count_workers() if workers is None else workers
        self.labels, self.classes = index.labels, index.classes
        self.device = torch.device("cpu")

    def batches(self, ids: Iterable[Int64[Tensor, " _"]], *, epoch: int = 0) -> Iterator[ImageBatch]:
        """Yield the images of each tensor of ids, on the source's device, and their labels.

        Raises DatasetError for an image that can't be read, and for one of another size than the others.
        """
        asked: deque[Tensor] = deque()  # ids that the workers have been given and the caller has not received
        done: list[Tensor] = []
        for part in self._decoded(self._tasks(ids, asked, epoch)):
            if isinstance(part, str):
                raise DatasetError(part)
            done.append(part.to(self.device, non_blocking=True))
            if sum(map(len, done)) == len(asked[0]):
                yield ImageBatch(done[0] if len(done) == 1 else torch.cat(done), self.labels[asked.popleft()])
                done.clear()

    def read(self, ids: Int64[Tensor, " chosen"]) -> ImageBatch:
        part = self._reader[0, ids.tolist()]
        if isinstance(part, str):
            raise DatasetError(part)
        return ImageBatch(part.to(self.device), self.labels[ids])

    def broken(self, ids: Int64[Tensor, " chosen"]) -> list[str]:
        """One line for each of these images that can't be read, with the reason."""
        tasks = ((0, [image]) for image in ids.tolist())
        return [found for found in self._decoded(tasks) if isinstance(found, str)]

    def fingerprint(self) -> str:
        """Over names, sizes and times of the files, and how they are cut for tests."""
        return checksum([self.index.fingerprint(), *self._how_read])[:16]

    def content_fingerprint(self) -> str:
        """Over names, sizes and parts of the content of the files, and how they are cut for tests."""
        return checksum([self.index.content_fingerprint(), *self._how_read])[:16]

    @property
    def _how_read(self) -> list[object]:
        crops = self.crops
        return [crops.resize, crops.crop, *(["upright"] if crops.upright else [])]

    @property
    def held_bytes(self) -> int:
        return self.index.nbytes

    def image_size(self) -> tuple[int, int]:
        width, height = self._size
        return height, width

    def to(self, device: torch.device | str) -> "Images":
        moved = copy(self)
        moved.device = torch.device(device)
        return moved

    def for_training(self, seed: int) -> "Images":
        other = copy(self)
        other.crops = replace(self.crops, seed=seed)
        other.__dict__.pop("_reader", None)
        return other

    def check_batch_memory(self, images: int) -> None:
        """Raise DatasetError for a batch that would take more than MAX_BATCH_BYTES of memory."""
        width, height = self._size
        held = images * height * width * 3
        if held > MAX_BATCH_BYTES:
            raise DatasetError(
                f"batch_size={images} images of {width} x {height} pixels take {held / 1e9:.1f} GB of memory; lower it"
            )

    @cached_property
    def _size(self) -> Size:
        """Width and height of all images. The first image is read if nothing else says it."""
        if self.size is not None:
            return self.size
        if self.crops.crop is not None:
            return self.crops.crop, self.crops.crop
        first = decode(
            self.index.read(0), name=self.index.where(0), cut=self.crops.cut, upright=self.crops.upright
        )
        return first.shape[1], first.shape[0]

    @cached_property
    def _reader(self) -> "Reader":
        return Reader(self.index, self.crops, self._size)

    def _tasks(
        self, ids: Iterable[Int64[Tensor, " _"]], asked: deque[Tensor], epoch: int
    ) -> Iterator[tuple[int, list[int]]]:
        for chosen in ids:
            self.check_batch_memory(len(chosen))
            asked.append(chosen)
            yield from ((epoch, part.tolist()) for part in chosen.split(PART))

    def _decoded(self, tasks: Iterable[tuple[int, list[int]]]) -> Iterator[Tensor | str]:
        """What the workers return for each task, in the order of the tasks. The workers end with the iterator."""
        options: dict[str, Any] = {}
        if self.workers:
            # Forked, because spawned processes would import torch again. Workers use no device.
            options = {"multiprocessing_context": "fork", "prefetch_factor": PARTS_AHEAD}
        with warnings.catch_warnings():
            # More workers than cores may be right: the disk may be slow.
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            loader = DataLoader(
                self._reader,
                batch_size=None,
                sampler=tasks,
                num_workers=self.workers,
                worker_init_fn=obey_parent_alone,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # otherwise DataLoader would draw from torch's global generator
                **options,
            )
            # A signal that arrives in a worker before `obey_parent_alone` runs must not end it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
            try:
                return iter(loader)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Reader(Dataset[Tensor | str]):
    """What the workers do: map (epoch, ids) to images, all of one `size`.

    An error that the user can fix is returned as text: an exception would reach the parent with a traceback in its
    message.
    """

    def __init__(self, index: ImageIndex, crops: Crops, size: Size) -> None:
        self.index, self.crops, self.size = index, crops, size

    def __getitem__(self, task: tuple[int, list[int]]) -> UInt8[Tensor, "part h w 3"] | str:
        epoch, ids = task
        width, height = self.size
        try:
            images = np.empty((len(ids), height, width, 3), dtype=np.uint8)
            for row, image in enumerate(ids):
                cut = partial(self._cut, epoch=epoch, image=image)
                content, name = self.index.read(image), self.index.where(image)
                images[row] = decode(content, name=name, cut=cut, upright=self.crops.upright)
            part = torch.from_numpy(images)
            # In this thread: an error in that of the queue would only be printed, and the run would wait forever.
            return part if get_worker_info() is None else part.share_memory_()
        except DatasetError as error:
            return str(error)
        except Exception as error:
            if "shared memory" in str(error):
                return (
                    "shared memory (/dev/shm) ran out; give the container more (docker run --shm-size=1g), or lower "
                    "dataset.workers"
                )
            if not is_out_of_memory(error):
                raise
            return f"{self.index.where(image)}: memory ran out while it was decoded; lower dataset.workers"

    def _cut(self, size: Size, *, epoch: int, image: int) -> Planned:
        name = self.index.where(image)
        cut = self.crops.cut(size, epoch=epoch, image=image, name=name)
        if cut.size != self.size:
            (width, height), (others_width, others_height) = cut.size, self.size
            raise DatasetError(
                f"{name} has {width} x {height} pixels, not {others_width} x {others_height} as the others; "
                "bring them to one size (dataset.resize, dataset.crop)"
            )
        return cut


def count_workers() -> int:
    """One for each core that this process may use, shared with the other processes of the run on this machine."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(AUTO_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def obey_parent_alone(worker: int) -> None:
    """Ignore the signals that stop a run: the main process finishes its step first, and then ends its workers.

    Clusters and terminals send signals to all processes of a run.
    """
    for number in STOPPING - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_with_parent, args=(parent.pid,), daemon=True).start()


def _end_with_parent(parent: int | None) -> None:
    """End this worker when its parent asks for it or is gone, because a worker that survived would hold the run's lock.

    torch checks for the parent too, but takes the process that is the parent at its first check, which may already be the
    init process.
    """
    while os.getppid() == parent:
        told = signal.sigtimedwait({signal.SIGTERM}, PARENT_CHECK_S)
        if told is not None and told.si_pid == parent:
            break
    os._exit(0)
