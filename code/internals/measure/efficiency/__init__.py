"""Chapter 4, first half: what a key-value cache saves and costs; how attention scales."""
