"""The ROS 2 face: node, worker, parameters, conversions. No maths lives here.

The core never imports this package, and this package never imports the training.
"""
