"""The faults: importing a module enters its own, and this order is the order in which they happen."""

from tests.programs.faults.catalogue import (  # noqa: I001 - the first fault of all shows what is usual
    services,
    postgres,
    rabbitmq,
    network,
    messages,
    clock,
    cluster,
    releases,
)

__all__ = ["clock", "cluster", "messages", "network", "postgres", "rabbitmq", "releases", "services"]
