"""Programs that run at the same time get ROS domains that differ."""

import subprocess
import sys

from dhpe_ros.ros.environment import DOMAINS, own_domain

ASK = "from dhpe_ros.ros.environment import own_domain; print(own_domain(), flush=True); input()"


def test_processes_at_the_same_time_hold_different_domains():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(5)
    ]
    held = [int(process.stdout.readline()) for process in processes]
    for process in processes:
        process.communicate("\n", timeout=30)
    assert len({*held, own_domain()}) == 6
    assert set(held) <= set(DOMAINS)


def test_a_process_keeps_its_domain():
    assert own_domain() == own_domain()
