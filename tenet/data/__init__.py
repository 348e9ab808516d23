"""Sources of labelled images, the data sets that `dataset=` names, and the loader of training batches."""

from tenet.data.arrays import ImageArrays, MappedImages, Splits, to_images_01
from tenet.data.datasets import Arrays, Cifar, Dataset, Digits, Folder
from tenet.data.folders import ClassFolder
from tenet.data.loader import TrainingLoader
from tenet.data.source import ImageBatch, ImageSource

__all__ = [
    "Arrays",
    "Cifar",
    "ClassFolder",
    "Dataset",
    "Digits",
    "Folder",
    "ImageArrays",
    "ImageBatch",
    "ImageSource",
    "MappedImages",
    "Splits",
    "TrainingLoader",
    "to_images_01",
]
