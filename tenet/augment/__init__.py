"""Augmentations of whole batches, on the device of the images."""
