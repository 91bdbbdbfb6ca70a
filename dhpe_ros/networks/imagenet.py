"""Mean and spread of ImageNet's colours, RGB in 0..1: what pictures are normalised by."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
