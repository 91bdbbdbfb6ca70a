"""Ways to compute the hand layer of `hand_model.HandModel`, besides its own plain torch.

compiled_hand   the autograd function, and when compiled kernels may run
numba_hand      on a CPU (`hand_kernels`)
triton_hand     on a GPU
manopth_hand    by manopth, for those who have it
"""
