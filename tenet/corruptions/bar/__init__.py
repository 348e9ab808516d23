"""The corruptions of CIFAR-10-C-bar and ImageNet-C-bar, chosen by their authors to be unlike the benchmark's 15.

Lengths are fractions of the image's shorter side; `magnitude` is the authors' own scale, with 10 as its unit.
Source: Mintun, Kirillov and Xie 2021 (arXiv 2102.11273), and the definitions in imagenet_c_bar/corrupt.py of
github.com/facebookresearch/augmentation-corruption.
"""
