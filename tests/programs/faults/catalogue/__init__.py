"""The catalogue of faults: importing a module adds its faults; they run in this order."""

from tests.programs.faults.catalogue import (  # noqa: I001 - the first fault of all shows what is usual
    services,
    postgres,
    pgbouncer,
    rabbitmq,
    network,
    messages,
    subscribers,
    clock,
    cluster,
    releases,
)

__all__ = [
    "clock",
    "cluster",
    "messages",
    "network",
    "pgbouncer",
    "postgres",
    "rabbitmq",
    "releases",
    "services",
    "subscribers",
]
