"""Classes and probabilities of any pictures, from a trained network."""
