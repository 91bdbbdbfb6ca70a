"""Compiled kernels of the hand, on arrays and tensors of its model.

layout            sizes, tree and tensors of the model
compiled_hand     the hand layer as an autograd function, and on a CPU (`hand_kernels`)
triton_hand       the hand layer on a GPU
skeleton_kernels  joints and single vertices with their derivatives, and normal equations
prior_kernels     the refinement's priors
"""
