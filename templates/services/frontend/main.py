"""The demo's entrance: answers what backend says."""

from runtime import Service

if __name__ == "__main__":
    Service("frontend", 8080, upstream=("backend", "BACKEND_URL")).run()
