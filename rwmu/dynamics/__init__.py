"""World models: recurrent ensembles, the autoregressive loop, losses and training."""
