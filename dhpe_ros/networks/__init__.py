"""Plain network bodies: ResNet-50, PoseNet, the small shared trunk. They know nothing of hands."""
