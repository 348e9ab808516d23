"""Data sets as arrays, and the loader that hands out their batches."""

from tenet.data.arrays import ImageArrays, Normalization, Splits, to_images_01
from tenet.data.datasets import Arrays, Cifar, Dataset, Digits, EvaluationSet, Folder
from tenet.data.loader import Augmentation, Batch, TrainingLoader

__all__ = [
    "Arrays",
    "Augmentation",
    "Batch",
    "Cifar",
    "Dataset",
    "Digits",
    "EvaluationSet",
    "Folder",
    "ImageArrays",
    "Normalization",
    "Splits",
    "TrainingLoader",
    "to_images_01",
]
