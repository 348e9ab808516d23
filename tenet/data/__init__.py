"""Sources of labelled images, the data sets that `dataset=` names, and the loader of training batches."""

from tenet.data.arrays import ImageArrays, MappedImages, make_arrays, to_images_01
from tenet.data.crops import Crops
from tenet.data.datasets import Arrays, Cifar, Dataset, Digits
from tenet.data.folders import index_folder
from tenet.data.image_datasets import Folder, ImageDataset, ImageFolders
from tenet.data.images import Images
from tenet.data.index import ImageIndex
from tenet.data.loader import TrainingLoader
from tenet.data.named.datasets import Cub200, ImageNet, TinyImageNet, Voc2012
from tenet.data.source import ImageBatch, ImageSource, Splits, Subset

__all__ = [
    "Arrays",
    "Cifar",
    "Crops",
    "Cub200",
    "Dataset",
    "Digits",
    "Folder",
    "ImageArrays",
    "ImageBatch",
    "ImageDataset",
    "ImageFolders",
    "ImageIndex",
    "ImageNet",
    "ImageSource",
    "Images",
    "MappedImages",
    "Splits",
    "Subset",
    "TinyImageNet",
    "TrainingLoader",
    "Voc2012",
    "index_folder",
    "make_arrays",
    "to_images_01",
]
