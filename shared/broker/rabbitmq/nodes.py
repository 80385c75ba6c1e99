"""The nodes of a RabbitMQ cluster, as the setting ``ISOLINE_AMQP_URL`` names them."""

from __future__ import annotations

import re


def urls_of_nodes(url: str) -> list[str]:
    """The URL of each node of a list with commas; a comma in a password separates none: no scheme follows."""
    return re.split(r",(?=amqps?://)", url)
