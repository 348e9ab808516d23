"""Writing a data set's own "-C" archive, in the official layout, once and for all."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import DTypeLike
from torch import Tensor

from tenet import __version__
from tenet.corruptions.generator import check_images, corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, check_cell
from tenet.corruptions.parameters import settings
from tenet.errors import DatasetError
from tenet.files.atomic import write_atomically
from tenet.files.json import MAX_JSON_BYTES
from tenet.files.names import MANIFEST_FILE
from tenet.files.plain import read_bytes

# The arrays beside the corruptions.
LABELS, CLEAN = "labels", "clean"
# Bytes of images that are in hand at once.
CHUNK_BYTES = 2**22


class ArchiveWriter:
    """Writes `<corruption>.npy` uint8 [5 n, h, w, 3], severity 1 first, labels.npy [5 n] and clean.npy [n].

    The pixels are those of `corrupt(images, ..., seed=seed)`, image by image. manifest.json holds what
    they were made from and by, and the SHA-256 of every file; `dataset` is kept there as it is. A folder
    may be written in several calls: each adds what is missing.

    images, labels: on the CPU; `device` is where they are corrupted, a chunk at a time.
    Raises DatasetError where the folder holds another archive, or arrays and no manifest.
    """

    def __init__(
        self,
        folder: Path,
        images: UInt8[Tensor, "image h w 3"],
        labels: Int64[Tensor, " image"],
        *,
        num_classes: int,
        seed: int = 0,
        dataset: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        check_images(images)
        self.folder, self.images, self.labels = folder, images, labels
        self.num_classes, self.seed, self.device = num_classes, seed, device
        self._chunk_size = max(1, CHUNK_BYTES // images[:1].numel())
        count, height, width = images.shape[:3]
        # What two archives must share to be one.
        self.identity = {
            "tenet_version": __version__,
            "seed": seed,
            "images": count,
            "height": height,
            "width": width,
            "classes": num_classes,
            "labels_sha256": digest_of([labels.numpy().tobytes()]),
            "images_sha256": digest_of(chunk.tobytes() for chunk in self._clean()),
        }
        self._open(dict(dataset or {}))

    def verified(self) -> list[str]:
        """The arrays that are there and whole, by name: "labels", "clean", and corruptions.

        Reads every file that the manifest lists. Raises DatasetError naming one that has changed since.
        """
        manifest = self._read_manifest()
        whole = []
        for name in (LABELS, CLEAN, *CORRUPTIONS, *EXTRA_CORRUPTIONS):
            path, written = self._path(name), manifest["sha256"].get(f"{name}.npy")
            if written is None or not path.is_file():
                continue
            if digest_of(blocks_of(path)) != written:
                raise DatasetError(
                    f"{path} is not the file that {MANIFEST_FILE} describes; remove it and run the command again"
                )
            if manifest["corruptions"].get(name, {}) != self._parameters(name):
                raise DatasetError(f"{path} was made with other parameters; give another folder")
            whole.append(name)
        return whole

    def rows(self, name: str) -> int:
        return len(self.images) * (1 if name == CLEAN else len(SEVERITIES))

    def write(self, name: str, *, on_rows: Callable[[int], None] = lambda rows: None) -> None:
        """Write one array, "labels", "clean" or a corruption, whole or not at all.

        `on_rows` hears, every now and then, how many rows have been made. Raises DatasetError where
        the file can't be written, ValueError for an unknown corruption.
        """
        if name not in (LABELS, CLEAN):
            check_cell(name, 1)
        shape: tuple[int, ...] = (self.rows(name), *self.images.shape[1:])
        if name == LABELS:
            dtype = np.uint8 if self.num_classes <= 256 else np.int64
            shape, chunks = shape[:1], iter([np.tile(self.labels.numpy().astype(dtype), len(SEVERITIES))])
        else:
            dtype, chunks = np.uint8, self._clean() if name == CLEAN else self._corrupted(name)
        digest = write_npy(self._path(name), chunks, shape=shape, dtype=dtype, on_rows=on_rows)
        # Read again: another process may have written another corruption in the meantime.
        manifest = self._read_manifest()
        manifest["sha256"][f"{name}.npy"] = digest
        if parameters := self._parameters(name):
            manifest["corruptions"][name] = parameters
        self._write_manifest(manifest)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _clean(self) -> Iterator[np.ndarray]:
        return (chunk.numpy() for chunk in self.images.split(self._chunk_size))

    def _corrupted(self, corruption: str) -> Iterator[np.ndarray]:
        for severity in SEVERITIES:
            for ids in torch.arange(len(self.images)).split(self._chunk_size):
                corrupted = corrupt(
                    self.images[ids].to(self.device),
                    corruption=corruption,
                    severity=severity,
                    seed=self.seed,
                    # Positions in the whole set: the pixels must not depend on the chunks.
                    image_ids=ids,
                )
                yield corrupted.cpu().numpy()

    def _parameters(self, name: str) -> dict[str, dict[str, float]]:
        """By severity; as text, since JSON knows no other keys."""
        if name in (LABELS, CLEAN):
            return {}
        size = min(self.images.shape[1:3])
        return {str(severity): settings(name, severity=severity, size=size) for severity in SEVERITIES}

    def _open(self, dataset: dict[str, Any]) -> None:
        if not (self.folder / MANIFEST_FILE).exists():
            if any(self.folder.glob("*.npy")):
                raise DatasetError(
                    f"{self.folder} holds .npy files but no {MANIFEST_FILE}; give another folder"
                )
            self._write_manifest({**self.identity, "dataset": dataset, "corruptions": {}, "sha256": {}})
            return
        manifest = self._read_manifest()
        for key, value in self.identity.items():
            if manifest.get(key) != value:
                raise DatasetError(
                    f"{self.folder} holds another archive: its {key} is {manifest.get(key)}, here it would be "
                    f"{value}; give another folder"
                )

    def _read_manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST_FILE
        try:
            manifest = json.loads(read_bytes(path, limit_bytes=MAX_JSON_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(f"{path} can't be read ({error}); give another folder") from error
        if not isinstance(manifest, dict) or not all(
            isinstance(manifest.get(key), dict) for key in ("corruptions", "sha256")
        ):
            raise DatasetError(f"{path} is not the manifest of an archive; give another folder")
        return manifest

    def _write_manifest(self, manifest: Mapping[str, Any]) -> None:
        text = json.dumps(manifest, indent=2) + "\n"
        with telling_what_cannot_be_written(self.folder):
            write_atomically(self.folder / MANIFEST_FILE, lambda temporary: temporary.write_text(text))


def write_npy(
    path: Path,
    chunks: Iterable[np.ndarray],
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> str:
    """Write the `chunks`, one after the other, as one array of `shape`; return the SHA-256 of the file.

    Written in sequence and not through a memory map, which a full disk would end with a signal
    instead of an error. `on_rows` hears the number of rows after each chunk.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    )
    digest = hashlib.sha256(header.getvalue())

    def fill(temporary: Path) -> None:
        rows = 0
        with temporary.open("wb") as file:
            file.write(header.getvalue())
            for chunk in chunks:
                content = chunk.tobytes()
                digest.update(content)
                file.write(content)
                rows += len(chunk)
                on_rows(rows)
        assert rows == shape[0]

    with telling_what_cannot_be_written(path):
        write_atomically(path, fill)
    return digest.hexdigest()


@contextmanager
def telling_what_cannot_be_written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # A StorageError names a file of its own, which its cause does not.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise DatasetError(f"{path} can't be written: {cause.strerror or cause}") from error


def digest_of(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def blocks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            yield block
