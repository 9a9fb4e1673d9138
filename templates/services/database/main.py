"""The end of the chain: a small table behind HTTP."""

from runtime import Service

ROWS = [{"id": 1, "name": "anchor"}, {"id": 2, "name": "buoy"}, {"id": 3, "name": "compass"}]

if __name__ == "__main__":
    Service("database", 5432, answer=lambda: {"rows": ROWS}).run()
