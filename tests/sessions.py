"""Processes of one session, as a test starts them to find what is left: mpirun and its ranks."""

import os
import signal
import time
from pathlib import Path


def folders_of(session):
    """/proc folders of those that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(state[3]) == session and state[0] != "Z":
            found.append(folder)
    return found


def left(session):
    """Ids of those that stay once the first one has ended: mpirun may end before the last one that
    it killed."""
    give_up = time.monotonic() + 5
    while (folders := folders_of(session)) and time.monotonic() < give_up:
        time.sleep(0.05)
    return [int(folder.name) for folder in folders]


def kill(session):
    for folder in folders_of(session):
        try:
            os.kill(int(folder.name), signal.SIGKILL)
        except ProcessLookupError:
            pass
