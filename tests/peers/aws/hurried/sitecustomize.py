"""Lets the aws CLI's pauses between two looks pass as quickly as the sandbox's modelled time does."""

import time

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(seconds / 100)
