"""Writes the "-C" archive of a data set in the official layout."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenet import __version__
from tenet.corruptions.generator import check_channels_last, check_least_size, corrupt
from tenet.corruptions.names import CORRUPTIONS, EXTRA_CORRUPTIONS, GENERATOR_VERSION, SEVERITIES, check_cell
from tenet.corruptions.parameters import settings
from tenet.errors import DatasetError
from tenet.files.atomic import write_atomically
from tenet.files.json import MAX_JSON_BYTES, write_json
from tenet.files.names import MANIFEST_FILE
from tenet.files.plain import read_bytes, sha256_of

# The arrays in addition to the corruptions.
LABELS, CLEAN = "labels", "clean"
# Bytes of images in memory at a time.
CHUNK_BYTES = 2**22


class ArchiveWriter:
    """Writes `<corruption>.npy` uint8 [5 n, h, w, 3], severity 1 first, labels.npy [5 n] and clean.npy [n].

    The pixels are those of `corrupt(images, ..., seed=seed)`. manifest.json describes the source, the
    settings and the SHA-256 of every file; it includes `dataset` unchanged. A folder may be written in
    several calls, each of which adds what is missing.

    images, labels: on the CPU. device: where they are corrupted, one chunk at a time.
    Raises DatasetError if the folder contains another archive, or arrays without a manifest.
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
        check_channels_last(images)
        check_least_size(*images.shape[1:3])
        self.folder, self.images, self.labels = folder, images, labels
        self.num_classes, self.seed, self.device = num_classes, seed, device
        self._chunk_size = max(1, CHUNK_BYTES // images[:1].numel())
        count, height, width = images.shape[:3]
        # Equal for all calls that write the same archive.
        self.identity = {
            "tenet_version": __version__,
            "generator_version": GENERATOR_VERSION,
            "seed": seed,
            "images": count,
            "height": height,
            "width": width,
            "classes": num_classes,
            "labels_sha256": hashlib.sha256(labels.contiguous().numpy().data).hexdigest(),
            "images_sha256": hashlib.sha256(images.contiguous().numpy().data).hexdigest(),
        }
        self._open(dict(dataset or {}))

    def verified(self) -> list[str]:
        """The names of the complete arrays: "labels", "clean" and corruptions.

        Reads every file that the manifest lists. Raises DatasetError if one has changed since it was written.
        """
        manifest = self._read_manifest()
        whole = []
        for name in (LABELS, CLEAN, *CORRUPTIONS, *EXTRA_CORRUPTIONS):
            path, written = self._path(name), manifest["sha256"].get(f"{name}.npy")
            if written is None or not path.is_file():
                continue
            if sha256_of(path) != written:
                raise DatasetError(
                    f"{path} is not the file that {MANIFEST_FILE} describes; remove it and run the command again"
                )
            if manifest["corruptions"].get(name, {}) != self._parameters(name):
                raise DatasetError(f"{path} was made with other parameters; give another folder")
            whole.append(name)
        return whole

    def rows(self, name: str) -> int:
        """The number of images in an array, or of labels."""
        return len(self.images) * (1 if name == CLEAN else len(SEVERITIES))

    def write(self, name: str, *, on_rows: Callable[[int], None] = lambda rows: None) -> None:
        """Write one array atomically: "labels", "clean" or a corruption.

        `on_rows` is called with the number of rows after each chunk. Raises StorageError if the file can't
        be written, ValueError for an unknown corruption.
        """
        if name not in (LABELS, CLEAN):
            check_cell(name, 1)
        shape: tuple[int, ...] = (self.rows(name), *self.images.shape[1:])
        if name == LABELS:
            dtype = np.uint8 if self.num_classes <= 256 else np.int64
            shape, chunks = shape[:1], iter([np.tile(self.labels.numpy().astype(dtype), len(SEVERITIES))])
        else:
            dtype, chunks = np.uint8, self._clean() if name == CLEAN else self._corrupted(name)
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}

        def fill(temporary: Path) -> None:
            rows = 0
            # Not a memory map: a full disk would then raise a signal instead of an error.
            with temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    file.write(chunk.tobytes())
                    rows += len(chunk)
                    on_rows(rows)

        write_atomically(self._path(name), fill)
        # Read again, because another process may have written another corruption meanwhile.
        manifest = self._read_manifest()
        manifest["sha256"][f"{name}.npy"] = sha256_of(self._path(name))
        if parameters := self._parameters(name):
            manifest["corruptions"][name] = parameters
        write_json(self.folder / MANIFEST_FILE, manifest)

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
                    # Positions in the whole data set, so that the pixels do not depend on the chunks.
                    image_ids=ids,
                )
                yield corrupted.cpu().numpy()

    def _parameters(self, name: str) -> dict[str, dict[str, float]]:
        """Severity (a string, because JSON has no other keys) -> parameters."""
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
            manifest = {**self.identity, "dataset": dataset, "corruptions": {}, "sha256": {}}
            write_json(self.folder / MANIFEST_FILE, manifest)
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
