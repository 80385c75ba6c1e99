"""The services that log in to PostgreSQL and RabbitMQ, each with an account and rights of its own."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    """What logs in to the servers with an account of its own."""

    GATEWAY = "gateway"
    PROCESSOR = "processor"
    OPERATOR = "operator"  # the commands `isoline replay`, `isoline dlq` and `isoline trace`
    SCALER = "scaler"  # no process of ours: an autoscaler such as KEDA, which asks PostgreSQL what waits
