"""The networks of a crop, compiled for the machine that they run on.

networks    the pipeline's networks, on the first backend that works
graphs      the three graphs that are compiled, and how they become exported programs
openvino    OpenVINO, for CPUs
tensorrt    TensorRT by torch-tensorrt, for NVIDIA's GPUs
cuda_graph  many small kernels as one launch, where there is no engine
identity    names of files by the weights that they are made of
store       compiled networks on disk: written at once, refused when in doubt
build       export, compile, compare with eager torch, write
processor   features of the CPU, by which a precision is chosen
"""
