"""The CIFAR-C corruptions: names, generator, and reader of the official archives."""
