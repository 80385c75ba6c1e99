"""The contract of events, as a gateway serves it and as the tools of subscribers read it."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from cloudevents.core.bindings.amqp import AMQPMessage, from_structured_event
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from gateway.contract.asyncapi import asyncapi_document
from gateway.contract.event_schemas import event_schemas
from shared.broker.topology import Topology
from shared.events import CONTENT_TYPE, EventType
from shared.release import RELEASE
from tests.http.conftest import open_client, open_test_processor, problem_of
from tests.http.ecg_requests import submit
from tests.support.builders import an_ecg_body
from tests.support.golden_events import present_events
from tests.support.polling import until

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_JAVASCRIPT: Final = Path(__file__).parents[1] / "javascript"
_DOCUMENT: Final = json.loads(json.dumps(asyncapi_document(namespace="", version=RELEASE)))
_SUBSCRIBER: Final = "sub.test"
_DAMAGE_ECG: Final = "UPDATE ecg_signal SET samples = '\\x00' WHERE row = (SELECT row FROM ecg WHERE id = $1)"


@cache
def _schema_of_asyncapi() -> Draft7Validator:
    """AsyncAPI's own schema of its documents, with those of its bindings."""
    schema = json.loads((_JAVASCRIPT / "node_modules/@asyncapi/specs/schemas/3.0.0.json").read_text())
    return Draft7Validator(schema)


class TestAsyncApi:
    def test_the_document_is_one_by_the_schema_of_asyncapi(self) -> None:
        assert [error.message for error in _schema_of_asyncapi().iter_errors(_DOCUMENT)] == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"channels": {"ecg.processed": {"bindings": {"amqp": {"is": "topic"}}}}},
            {"operations": {"publish": {"action": "shout"}}},
            {"defaultContentType": 5},
        ],
    )
    def test_that_schema_refuses_what_is_none(self, wrong: dict[str, Any]) -> None:
        assert not _schema_of_asyncapi().is_valid(_DOCUMENT | wrong)

    def test_each_reference_leads_somewhere(self) -> None:
        references = set(_references(_DOCUMENT))

        assert "#/components/schemas/ProcessedEvent" in references
        for reference in references:
            found: Any = _DOCUMENT
            for name in reference.removeprefix("#/").split("/"):
                found = found[name]
            assert found

    @pytest.mark.parametrize("type_", EventType)
    def test_a_message_has_an_example_that_is_one(self, type_: EventType) -> None:
        message = _DOCUMENT["components"]["messages"][type_]
        registry = Registry().with_resource("urn:asyncapi", Resource.from_contents(_DOCUMENT, DRAFT202012))
        validator = Draft202012Validator(
            {"$ref": f"urn:asyncapi{message['payload']['$ref']}"},
            registry=registry,
            format_checker=Draft202012Validator.FORMAT_CHECKER,
        )
        [example] = message["examples"]

        assert example["payload"]["type"] == type_
        assert not list(validator.iter_errors(example["payload"]))
        assert list(validator.iter_errors(example["payload"] | {"data": {}}))

    @pytest.mark.parametrize("namespace", ["", "ward-7."])
    def test_exchange_and_queues_have_the_names_of_the_installation(self, namespace: str) -> None:
        channels = asyncapi_document(namespace=namespace, version=RELEASE)["channels"]

        for type_ in EventType:
            binding = channels[type_]["bindings"]["amqp"]
            assert channels[type_]["address"] == type_
            assert binding["exchange"]["name"] == Topology(namespace).exchange
        queue = channels["subscriber"]["bindings"]["amqp"]
        assert queue["queue"]["name"] == f"{namespace}sub.{{service}}"
        assert queue["queue"]["durable"]
        assert queue["x-isoline-queue-arguments"] == {"x-queue-type": "quorum"}

    async def test_it_is_served_to_all(self, nobody_alone: aiohttp.ClientSession) -> None:
        async with nobody_alone.get("/asyncapi.json", headers={"Accept-Encoding": "identity"}) as response:
            assert response.content_type == "application/json"
            assert await response.json() == _DOCUMENT


class TestSchemas:
    @pytest.mark.parametrize("type_", EventType)
    async def test_the_one_that_an_event_names_is_served(
        self, nobody_alone: aiohttp.ClientSession, type_: EventType
    ) -> None:
        schemas = event_schemas()[type_]
        *_, named, version = schemas.data["$id"].split(":")

        for path, schema in (("", schemas.data), ("/event", schemas.event)):
            address = f"/schemas/{named}/{version}{path}"
            async with nobody_alone.get(address, headers={"Accept-Encoding": "identity"}) as response:
                served = json.loads(await response.read())
            Draft202012Validator.check_schema(served)
            assert response.content_type == "application/schema+json"
            assert served == schema

    async def test_one_that_the_reader_has_is_not_sent_again(
        self, nobody_alone: aiohttp.ClientSession
    ) -> None:
        async with nobody_alone.get("/schemas/ecg.failed/1") as first:
            tag = first.headers["ETag"]
        async with nobody_alone.get("/schemas/ecg.failed/1", headers={"If-None-Match": tag}) as again:
            assert (again.status, await again.read()) == (304, b"")

    @pytest.mark.parametrize(
        "name",
        ["ecg.processed/2", "ecg.processed/01", "ecg.vanished/1", "ecg.processed/1/more", "ecg.processed"],
    )
    @pytest.mark.parametrize("path", ["", "/event"])
    async def test_there_are_no_others(
        self, nobody_alone: aiohttp.ClientSession, name: str, path: str
    ) -> None:
        async with nobody_alone.get(f"/schemas/{name}{path}") as response:
            await problem_of(response, 404)


async def test_the_tools_of_subscribers_read_what_is_published(
    gateway: str, broker: InProcessBroker, database: Database
) -> None:
    bodies = await _published_of_each_type(gateway, broker, database)
    bodies += [event.body for event in present_events()]

    documents = list(map(json.loads, bodies))
    assert {document["type"] for document in documents} == set(EventType)
    _read_in_python(bodies)
    assert await _read_in_javascript(bodies) == [
        {
            "id": document["id"],
            "type": document["type"],
            **({"subject": document["subject"]} if "subject" in document else {}),
            **({"generation": document["data"]["generation"]} if "generation" in document["data"] else {}),
            "isEvent": True,
            "isData": True,
        }
        for document in documents
    ]


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for value in node.values() for reference in _references(value)]
    return [reference for value in node for reference in _references(value)] if isinstance(node, list) else []


async def _published_of_each_type(gateway: str, broker: InProcessBroker, database: Database) -> list[bytes]:
    """What is published of an ECG that is analysed and erased, and of one whose samples are damaged."""
    broker.bind(_SUBSCRIBER, *EventType)
    async with open_client(gateway, "ada") as ada:
        await submit(ada, an_ecg_body(id="good"))
        await submit(ada, an_ecg_body(id="damaged"))
        async with database.connection() as connection:
            await connection.execute(_DAMAGE_ECG, "damaged")
        async with open_test_processor(database, broker):
            await until(lambda: len(broker.waiting(_SUBSCRIBER)) >= 4)
        async with ada.delete("/ecg/good") as response:
            assert response.status == 204
    await until(lambda: len(broker.waiting(_SUBSCRIBER)) >= 5)
    return broker.waiting(_SUBSCRIBER)


def _read_in_python(bodies: list[bytes]) -> None:
    schemas = event_schemas()
    for body in bodies:
        message = AMQPMessage(
            properties={"content-type": CONTENT_TYPE}, application_properties={}, application_data=body
        )
        event = from_structured_event(message)
        document, known = json.loads(body), schemas[EventType(event.get_type())]
        assert event.get_id() == document["id"]
        assert event.get_dataschema() == known.data["$id"]
        assert event.get_data() == document["data"]
        for schema, part in ((known.event, document), (known.data, document["data"])):
            validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
            assert not list(validator.iter_errors(part))


async def _read_in_javascript(bodies: list[bytes]) -> list[dict[str, Any]]:
    """What ajv and the CloudEvents package of npm make of events."""
    schemas = [schema for of in event_schemas().values() for schema in (of.data, of.event)]
    given = json.dumps({"schemas": schemas, "events": [body.decode() for body in bodies]}).encode()
    node = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("node"), _JAVASCRIPT / "read_events.js"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, complaints = await node.communicate(given)
    assert (node.returncode, complaints) == (0, b""), complaints.decode()
    read: list[dict[str, Any]] = json.loads(printed)
    return read
