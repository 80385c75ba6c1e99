"""The nodes of a RabbitMQ cluster, as the setting ``ISOLINE_AMQP_URL`` names them."""

from __future__ import annotations

import re


def urls_of_nodes(url: str) -> list[str]:
    """The URL of each node: several may stand in one text with commas between them.

    A comma in a password is none of those, since no scheme follows it.
    """
    return re.split(r",(?=amqps?://)", url)
