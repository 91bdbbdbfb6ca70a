"""The networks of a crop, compiled ahead of time for one machine.

graphs      the two graphs that are compiled, and how they become exported programs
identity    all that an engine was built from and for
store       engines on disk: written at once, found by identity, refused when in doubt
aoti        AOTInductor
tensorrt    TensorRT, by torch-tensorrt
build       export, compile, compare with eager torch, report
interruption  the compilers end with the process that started them
networks    the pipeline's networks, on the first backend that works
"""
