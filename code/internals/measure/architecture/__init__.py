"""Chapter 1: components and parameters, the head as a bottleneck, layer against batch norm."""
