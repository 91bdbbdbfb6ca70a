"""The machine: devices, threads, compiled kernels, and the names of our programs."""
