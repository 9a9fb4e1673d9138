"""The service that is shifted from version to version: answers what database says."""

from runtime import Service

if __name__ == "__main__":
    Service("backend", 8080, upstream=("database", "DATABASE_URL")).run()
