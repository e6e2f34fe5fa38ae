"""What has been trained as graphs that run without this package: ONNX and TorchScript."""
