#!/usr/bin/env bash
# The environment of ROS and of the workspace, then the command.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /ws/install/setup.bash
exec "$@"
