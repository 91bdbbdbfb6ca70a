"""Dense 3D hand pose estimation from colour images, with a ROS 2 node around it.

Importing this package loads none of its parts: ``import dhpe_ros`` needs neither torch nor ROS.
"""

import pkgutil

# The messages (dhpe_ros.msg) are generated and live in the installed package of the same name. This
# joins both, so that they are found when Python runs in the source tree too.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"
