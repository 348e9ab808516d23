"""A trained network as a folder for other people: weights, card, ONNX, and a program of torch.export."""
