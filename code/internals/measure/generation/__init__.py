"""Chapter 4: speed, memory and scaling of generation; what each way of decoding writes."""
