from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shared.broker.rabbitmq.nodes import urls_of_nodes
from shared.domain.errors import ConfigurationError
from shared.runtime.settings import EmbeddedSettings, GatewaySettings, ProcessorSettings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

_NEEDED = {
    "ISOLINE_DATABASE_URL": "postgresql://isoline:canary@db/isoline",
    "ISOLINE_AMQP_URL": "amqp://isoline:canary@mq/",
    "ISOLINE_TOKEN_KEY": "canary",
}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ISOLINE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with the required settings, to be changed by a test."""
    for name, value in _NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal(kind: type[GatewaySettings | ProcessorSettings | EmbeddedSettings] = GatewaySettings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(kind)
    return str(caught.value)


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ISOLINE_PORT", "9090")

    settings = read_settings(GatewaySettings)

    assert settings.port == 9090
    assert settings.database_url.get_secret_value() == _NEEDED["ISOLINE_DATABASE_URL"]


@pytest.mark.parametrize("name", ["ISOLINE_PORT", "ISOLINE_OPERATIONS_PORT"])
@pytest.mark.parametrize("address", ["tcp://10.96.31.7:8080", "udp://10.96.31.7:8080"])
def test_what_kubernetes_sets_for_a_service_of_that_name_is_told_from_a_wrong_port(
    environment: pytest.MonkeyPatch, name: str, address: str
) -> None:
    environment.setenv(name, address)

    assert refusal() == (
        f"{name}: expected a number, and found the address of a Kubernetes Service that shares its name; "
        "set `enableServiceLinks: false` in the pod, or give the Service another name"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [("/", ""), ("/isoline", "/isoline"), ("/isoline/", "/isoline"), ("/a-b/c_d/e.f~1/", "/a-b/c_d/e.f~1")],
)
def test_a_path_prefix_is_kept_without_its_last_slash(
    environment: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    environment.setenv("ISOLINE_PATH_PREFIX", given)

    assert read_settings(GatewaySettings).path_prefix == expected


@pytest.mark.parametrize(
    "given",
    [
        *(
            "isoline",
            "//",
            "//evil.example",
            "/a//b",
            "/isoline//",
            "/..",
            "/a/./b",
            "/a/../b",
            "/%2e%2e",
            "/a b",
        ),
        *(
            "/a\r\nSet-Cookie: x",
            "/a\n",
            "/a?b",
            "/a#b",
            "/\\evil.example",
            "/a:b",
            "/\u00e4",
            "/" + "a" * 256,
        ),
        *("https://evil.example", "http://evil.example/isoline", "/<script>", '/"', "/a;b", "/a@b"),
    ],
)
def test_a_path_prefix_that_would_lead_elsewhere_is_refused(
    environment: pytest.MonkeyPatch, given: str
) -> None:
    environment.setenv("ISOLINE_PATH_PREFIX", given)

    assert refusal().startswith("ISOLINE_PATH_PREFIX: ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", []),
        (" ", []),
        ("https://app.example.org", ["https://app.example.org"]),
        (
            "https://app.example.org, http://localhost:3000",
            ["https://app.example.org", "http://localhost:3000"],
        ),
        (
            "http://127.0.0.1:8080,https://[2001:db8::1]:8443",
            ["http://127.0.0.1:8080", "https://[2001:db8::1]:8443"],
        ),
        (
            "https://xn--caf-dma.example,http://my_app:65535",
            ["https://xn--caf-dma.example", "http://my_app:65535"],
        ),
        ("http://a.example:443,https://a.example:80", ["http://a.example:443", "https://a.example:80"]),
    ],
)
def test_origins_have_commas_between_them(
    environment: pytest.MonkeyPatch, given: str, expected: list[str]
) -> None:
    environment.setenv("ISOLINE_CORS_ORIGINS", given)

    assert read_settings(GatewaySettings).allowed_origins == expected


@pytest.mark.parametrize("kind", [GatewaySettings, ProcessorSettings, EmbeddedSettings])
def test_networks_of_webhooks_are_read_by_both_services(
    environment: pytest.MonkeyPatch, kind: type[GatewaySettings | ProcessorSettings | EmbeddedSettings]
) -> None:
    own = ["127.0.0.0/8", "::1/128"] if kind is EmbeddedSettings else []
    assert list(map(str, read_settings(kind).egress_rules.networks)) == own

    environment.setenv("ISOLINE_WEBHOOK_NETWORKS", "10.1.0.0/16, fd12:3456::/32")

    assert list(map(str, read_settings(kind).egress_rules.networks)) == ["10.1.0.0/16", "fd12:3456::/32"]


def test_an_embedded_mode_that_others_reach_sends_nothing_to_its_own_machine(
    environment: pytest.MonkeyPatch,
) -> None:
    assert read_settings(EmbeddedSettings).for_network().egress_rules.networks == ()

    environment.setenv("ISOLINE_WEBHOOK_NETWORKS", "127.0.0.0/8")

    assert len(read_settings(EmbeddedSettings).for_network().egress_rules.networks) == 1


def test_what_is_no_network_is_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ISOLINE_WEBHOOK_NETWORKS", "10.1.0.0/16,10.2.0.1/16")

    assert refusal().startswith("ISOLINE_WEBHOOK_NETWORKS: network 2: expected 10.0.0.0/8 ")


@pytest.mark.parametrize(
    "given",
    [
        *("*", "null", "https://*.example.org", "https://a.example,*", "https://a.example,null"),
        *("app.example.org", "//app.example.org", "ftp://app.example.org", "file://", "https://", "https:"),
        *(
            "https://app.example.org/",
            "https://app.example.org/app",
            "https://app.example.org?",
            "https://a#b",
        ),
        *("https://App.example.org", "HTTPS://app.example.org", "https://caf\u00e9.example", "https://a b"),
        *(
            "https://a.example:443",
            "http://a.example:80",
            "http://a:0",
            "http://a:",
            "http://a:65536",
            "http://a:08",
        ),
        *("https://me@a.example", "https://me:secret@a.example", "https://a.example.", "https://-a"),
        *(
            "http://127.1",
            "http://1.2.3.4.5",
            "http://256.1.1.1",
            "http://[::1",
            "http://[2001:db8:0::1]",
            "http://[z]",
        ),
        *("https://a.example,", ",https://a.example", "https://a.example,,https://b.example"),
        *(
            "https://a.example https://b.example",
            "https://a.example;https://b.example",
            '["https://a.example"]',
        ),
        "https://a.example,https://b.example,https://a.example",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(environment: pytest.MonkeyPatch, given: str) -> None:
    environment.setenv("ISOLINE_CORS_ORIGINS", given)

    assert refusal().startswith("ISOLINE_CORS_ORIGINS: ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("*", "* would let every page call; name each origin"),
        ("null", "null is the origin of files and sandboxed frames of anybody; name those of web servers"),
        ("https://a.example,https://a.example", "origin 2 is named before"),
        (
            "https://a.example,https://b.example/",
            (
                "origin 2: expected one as browsers send it, such as https://app.example.org or "
                "http://localhost:3000: http or https, the host in lower case, a port only if it is not the "
                "scheme's, and nothing after it"
            ),
        ),
    ],
)
def test_a_refused_origin_is_told_what_is_expected(
    environment: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    environment.setenv("ISOLINE_CORS_ORIGINS", given)

    assert refusal() == f"ISOLINE_CORS_ORIGINS: {expected}"


@pytest.mark.parametrize(
    "source",
    [
        "urn:uuid:5b1f4c1e-7f0b-5c1c-9f6e-0d2c9a7c4e10",
        "https://example.org/isoline?site=a&b#c",
        "https://[2001:db8::1]:8443/isoline",
        "/isoline",
        "isoline/north",
        "caf%C3%A9",
    ],
)
def test_a_source_is_any_uri_or_relative_reference(environment: pytest.MonkeyPatch, source: str) -> None:
    environment.setenv("ISOLINE_SOURCE", source)

    assert read_settings(GatewaySettings).source == source
    assert read_settings(ProcessorSettings).source == source


@pytest.mark.parametrize(
    "source",
    ["two words", "caf\u00e9", "%zz", "%", "a#b#c", "1:2", "a_b:c", "http://[::1", "a\n", "<a>", "a" * 257],
)
def test_a_source_that_cloudevents_would_not_take_is_refused(
    environment: pytest.MonkeyPatch, source: str
) -> None:
    environment.setenv("ISOLINE_SOURCE", source)

    assert refusal().startswith("ISOLINE_SOURCE: ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://isoline:canary@h1:5432,h2:5432/isoline",
        "postgresql://isoline:ca,nary@h1,h2:6432/isoline?target_session_attrs=read-write",
        "postgresql://h1,h2,h3/isoline",
        "postgresql://isoline@/isoline?host=/run/postgresql",
    ],
)
def test_a_database_may_have_several_hosts(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("ISOLINE_DATABASE_URL", url)

    assert read_settings(GatewaySettings).database_url.get_secret_value() == url


@pytest.mark.parametrize("hosts", ["h1:5432,h2:no", "h1:0,h2", "h1,,h2", "h1,"])
def test_each_host_of_a_database_has_a_name_and_a_port(environment: pytest.MonkeyPatch, hosts: str) -> None:
    environment.setenv("ISOLINE_DATABASE_URL", f"postgresql://isoline:canary@{hosts}/isoline")

    assert refusal() == (
        "ISOLINE_DATABASE_URL: expected postgresql://user:password@host:port/name, the port a number"
    )


@pytest.mark.parametrize("parameter", ["heartbeat=abc", "a=b&connection_timeout=", "channel_max=-1"])
def test_a_parameter_of_the_broker_that_is_no_number_is_refused(
    environment: pytest.MonkeyPatch, parameter: str
) -> None:
    environment.setenv("ISOLINE_AMQP_URL", f"amqp://a:b@one/?x=1,amqp://a:canary@two/?{parameter}")

    assert re.fullmatch(r"ISOLINE_AMQP_URL: its parameter \w+ has to be a number", refusal())


def test_a_parameter_of_the_broker_that_is_a_number_is_taken(environment: pytest.MonkeyPatch) -> None:
    url = "amqp://a:b@one/?heartbeat=5,amqps://a:b@two/?connection_timeout=2.5&cafile=/etc/ca.pem"
    environment.setenv("ISOLINE_AMQP_URL", url)

    assert read_settings(GatewaySettings).amqp_url.get_secret_value() == url


@pytest.mark.parametrize("path", [".", "..", ". ."])
def test_a_path_of_no_claim_is_refused(environment: pytest.MonkeyPatch, path: str) -> None:
    environment.setenv("ISOLINE_OIDC_ROLES_CLAIM", path)

    assert refusal().startswith("ISOLINE_OIDC_ROLES_CLAIM: ")


def test_the_embedded_mode_needs_no_settings() -> None:
    settings = read_settings(EmbeddedSettings)

    assert (settings.host, settings.port, settings.password_min_length) == ("127.0.0.1", 8080, 4)
    assert settings.amqp_url.get_secret_value() == ""


@pytest.mark.parametrize("url", ["http://mq/", "amqp://mq:99999/", "amqp://mq/?heartbeat=often"])
def test_a_rabbitmq_of_the_embedded_mode_is_named_if_it_is_none(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", url)

    assert refusal(EmbeddedSettings).startswith("ISOLINE_AMQP_URL: ")


def test_production_asks_for_passwords_of_8_characters(environment: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    assert read_settings(GatewaySettings).password_min_length == 8


def test_all_that_is_missing_is_named_at_once() -> None:
    assert refusal() == (
        "ISOLINE_AMQP_URL: is required and not set; "
        "ISOLINE_DATABASE_URL: is required and not set; "
        "ISOLINE_TOKEN_KEY: is required and not set"
    )


@pytest.mark.parametrize("name", _NEEDED)
def test_what_is_empty_is_missing(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "")

    assert refusal() == f"{name}: is required and not set"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISOLINE_PORT", "http"),
        ("ISOLINE_PORT", "65536"),
        ("ISOLINE_PORT", "-1"),
        ("ISOLINE_LOG_LEVEL", "loud"),
        ("ISOLINE_DATABASE_CONNECTIONS", "0"),
        ("ISOLINE_MAX_LEADS", "0"),
        ("ISOLINE_TOKEN_LIFETIME_S", "901"),
        ("ISOLINE_PASSWORD_MIN_LENGTH", "129"),
        ("ISOLINE_PUBLISH_TIMEOUT_S", "nan"),
        ("ISOLINE_AMQP_NAMESPACE", "A B"),
        ("ISOLINE_AMQP_NAMESPACE", "x" * 201),
        ("ISOLINE_DATABASE_URL", "mysql://isoline@db/isoline"),
        ("ISOLINE_DATABASE_URL", "postgresql://isoline@db:port/isoline"),
        ("ISOLINE_AMQP_URL", "http://mq/"),
        ("ISOLINE_AMQP_URL", "amqp://mq:99999/"),
        ("ISOLINE_AMQP_URL", "amqp://mq-1/,http://mq-2/"),
        ("ISOLINE_AMQP_URL", "amqp://mq-1/\namqp://mq-2/"),
        ("ISOLINE_READ_TIMEOUT_S", "1e-9"),
        ("ISOLINE_READ_TIMEOUT_S", "nan"),
        ("ISOLINE_READ_TIMEOUT_S", "inf"),
        ("ISOLINE_REVOCATION_S", "1e-9"),
        ("ISOLINE_PUBLISH_TIMEOUT_S", "1e-9"),
        ("ISOLINE_DRAIN_S", "nan"),
        ("ISOLINE_DRAIN_S", "-1e-9"),
        ("ISOLINE_MAX_LEAD_SAMPLES", "10000000000"),
        ("ISOLINE_MAX_BYTES_IN_FLIGHT", "1" + "0" * 30),
        ("ISOLINE_MAX_SPOOLED_BYTES", "1" + "0" * 30),
        ("ISOLINE_RESULT_CACHE_BYTES", "1" + "0" * 30),
        ("ISOLINE_MAX_BACKLOG", "1" + "0" * 30),
        ("ISOLINE_RATE_PER_CALLER", "1" + "0" * 30),
        ("ISOLINE_RATE_PER_ADDRESS", "1" + "0" * 30),
        ("ISOLINE_RATE_OF_LOGINS", "1" + "0" * 30),
    ],
)
def test_what_is_wrong_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)

    message = refusal()

    assert message.startswith(f"{name}: ")
    assert message.count("ISOLINE_") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISOLINE_RELAY_INTERVAL_S", "1e-9"),
        ("ISOLINE_BATCH_SAMPLES", "10000000000"),
        ("ISOLINE_PREFETCH", "10000000000"),
    ],
)
def test_what_is_wrong_of_a_processor_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    assert refusal(ProcessorSettings).startswith(f"{name}: it should be ")


@pytest.mark.parametrize("kind", [GatewaySettings, ProcessorSettings, EmbeddedSettings])
def test_each_number_has_a_least_and_a_most(
    kind: type[GatewaySettings | ProcessorSettings | EmbeddedSettings],
) -> None:
    properties = kind.model_json_schema()["properties"]
    numbers = {
        name: choice
        for name, schema in properties.items()
        for choice in schema.get("anyOf", [schema])
        if choice["type"] in {"integer", "number"}
    }

    endless = [name for name, schema in numbers.items() if not {"minimum", "maximum"} <= schema.keys()]

    # What all bodies may hold bounds them: see `test_limits_that_contradict_each_other_...`.
    assert set(endless) <= {"max_body_bytes", "max_leads"}
    assert len(numbers) > 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ISOLINE_TOKEN_KEY", "change-me"),
        ("ISOLINE_DATABASE_URL", "postgresql://isoline:change-me@db/isoline"),
        ("ISOLINE_AMQP_URL", "amqp://isoline:change-me@mq/"),
    ],
)
@pytest.mark.parametrize("kind", [GatewaySettings, ProcessorSettings])
def test_a_sample_secret_is_refused_and_named(
    environment: pytest.MonkeyPatch,
    kind: type[GatewaySettings | ProcessorSettings],
    name: str,
    value: str,
) -> None:
    if kind is ProcessorSettings and name == "ISOLINE_TOKEN_KEY":
        name, value = "ISOLINE_AMQP_URL", "amqp://change-me@mq/"  # it signs no tokens
    environment.setenv(name, value)

    assert refusal(kind) == f"{name}: still holds the sample secret 'change-me'"


def test_several_nodes_of_a_broker_may_be_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ISOLINE_AMQP_URL", "amqp://isoline:a,b@mq-1/,amqps://isoline:good@mq-2:5671/")

    url = read_settings(ProcessorSettings).amqp_url.get_secret_value()

    assert urls_of_nodes(url) == ["amqp://isoline:a,b@mq-1/", "amqps://isoline:good@mq-2:5671/"]


def test_no_secret_is_ever_shown(environment: pytest.MonkeyPatch) -> None:
    shown = f"{read_settings(GatewaySettings)!r} {read_settings(GatewaySettings)}"
    environment.setenv("ISOLINE_PORT", "canary")

    assert "canary" not in shown
    assert "canary" not in refusal()


def test_a_secret_may_be_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "isoline_token_key").write_text("from a file\n")
    environment.delenv("ISOLINE_TOKEN_KEY")
    environment.setenv("ISOLINE_SECRETS_DIR", str(tmp_path))

    assert read_settings(GatewaySettings).token_key.get_secret_value() == "from a file"


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_of_secrets_that_is_none_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    environment.setenv("ISOLINE_SECRETS_DIR", str(tmp_path / name))

    assert refusal() == f"ISOLINE_SECRETS_DIR: there is no folder {tmp_path / name}"


def test_a_secret_that_can_not_be_read_is_named_with_its_file(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "isoline_token_key").write_bytes(b"\xff\xfe")
    (tmp_path / "isoline_amqp_url").symlink_to(tmp_path / "nowhere")
    (tmp_path / "isoline_database_url").mkdir()
    (tmp_path / "isoline_of_somebody_else").mkdir()
    environment.setenv("ISOLINE_SECRETS_DIR", str(tmp_path))

    assert set(refusal().split("; ")) == {
        f"ISOLINE_TOKEN_KEY: {tmp_path}/isoline_token_key is no text in UTF-8",
        f"ISOLINE_AMQP_URL: {tmp_path}/isoline_amqp_url leads to no file",
        f"ISOLINE_DATABASE_URL: can't read {tmp_path}/isoline_database_url: Is a directory",
    }


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))  # the address of a socket is short


def a_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**34)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (os.mkfifo, "{} is a named pipe and no file"),
        (a_socket, "{} is a socket and no file"),
        (lambda path: path.symlink_to("/dev/zero"), "{} is a device and no file"),
        (lambda path: path.symlink_to(path), "can't read {}: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"x" * (2**16 + 1)), "{} has more than 65536 bytes"),
        (a_huge_file, "{} has more than 65536 bytes"),
        (lambda path: path.write_bytes("key".encode("utf-16")), "{} is no text in UTF-8"),
        (lambda path: path.write_bytes(b"ke\0y"), "holds a character that can't be seen, U+0000"),
        (lambda path: path.write_text("ke\ufeffy"), "holds a character that can't be seen, U+FEFF"),
        (lambda path: path.write_text("\ufeff\r\n"), "is required and not set"),
        (Path.touch, "is required and not set"),
    ],
)
def test_what_is_no_text_of_a_secret_is_refused_at_once(
    environment: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    file = tmp_path / "isoline_token_key"
    make(file)
    environment.delenv("ISOLINE_TOKEN_KEY")
    environment.setenv("ISOLINE_SECRETS_DIR", str(tmp_path))

    assert refusal() == f"ISOLINE_TOKEN_KEY: {sentence.format(file)}"


@pytest.mark.parametrize("text", ["\ufeff{}", "{}\r\n", "\ufeff {}\r\n\r\n"])
def test_what_editors_put_around_a_secret_is_taken_off(
    environment: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    for name, value in _NEEDED.items():
        environment.delenv(name)
        (tmp_path / name.lower()).write_bytes(text.format(value).encode())
    environment.setenv("ISOLINE_SECRETS_DIR", str(tmp_path))

    settings = read_settings(GatewaySettings)

    assert settings.token_key.get_secret_value() == _NEEDED["ISOLINE_TOKEN_KEY"]
    assert settings.database_url.get_secret_value() == _NEEDED["ISOLINE_DATABASE_URL"]
    assert settings.amqp_url.get_secret_value() == _NEEDED["ISOLINE_AMQP_URL"]


def test_a_secret_may_be_a_link_to_another_folder(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("from a file\n")
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "isoline_token_key").symlink_to(tmp_path / "kept")
    environment.delenv("ISOLINE_TOKEN_KEY")
    environment.setenv("ISOLINE_SECRETS_DIR", str(folder))

    assert read_settings(GatewaySettings).token_key.get_secret_value() == "from a file"


def test_the_environment_wins_over_a_file_unless_it_is_empty(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "isoline_token_key").write_text("from a file")
    environment.setenv("ISOLINE_SECRETS_DIR", str(tmp_path))
    both = read_settings(GatewaySettings)
    environment.setenv("ISOLINE_TOKEN_KEY", "")
    empty = read_settings(GatewaySettings)

    assert both.token_key.get_secret_value() == _NEEDED["ISOLINE_TOKEN_KEY"]
    assert empty.token_key.get_secret_value() == "from a file"


@pytest.mark.parametrize("name", _NEEDED)
def test_a_byte_order_mark_in_the_environment_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, f"\ufeff{_NEEDED[name]}")

    assert refusal() == f"{name}: holds a character that can't be seen, U+FEFF"


def test_a_folder_of_secrets_whose_name_no_folder_can_have_is_refused(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ISOLINE_SECRETS_DIR", "/" + "x" * 5000)

    assert refusal().endswith(": File name too long")


@pytest.mark.parametrize("kind", [GatewaySettings, ProcessorSettings])
@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ("0", "greater than or equal to 1"),
        ("-1", "greater than or equal to 1"),
        ("abc", "a valid integer"),
        ("1.5", "a valid integer"),
        ("1000", "less than or equal to 64"),
    ],
)
def test_a_count_of_workers_that_makes_no_sense_is_refused_in_one_sentence(
    environment: pytest.MonkeyPatch,
    kind: type[GatewaySettings | ProcessorSettings],
    workers: str,
    reason: str,
) -> None:
    environment.setenv("ISOLINE_WORKERS", workers)

    assert re.fullmatch(rf"ISOLINE_WORKERS: it should be [^;]*{reason}[^;]*", refusal(kind))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"MAX_BODY_BYTES": 2**26 + 1},
            (
                "ISOLINE_MAX_BODY_BYTES: one caller may hold 67108864 bytes, "
                "a quarter of ISOLINE_MAX_BYTES_IN_FLIGHT, and a body no more"
            ),
        ),
        (
            {"MAX_BYTES_IN_FLIGHT": 2**26 - 1},
            (
                "ISOLINE_MAX_BODY_BYTES: one caller may hold 16777215 bytes, "
                "a quarter of ISOLINE_MAX_BYTES_IN_FLIGHT, and a body no more"
            ),
        ),
        (
            {"MAX_ECG_SAMPLES": 2**23 + 1},
            (
                "ISOLINE_MAX_ECG_SAMPLES: one caller may hold 67108864 bytes, "
                "a quarter of ISOLINE_MAX_BYTES_IN_FLIGHT, and so many samples take 67108872"
            ),
        ),
        (
            {"MAX_RECORDING_SAMPLES": 400_000_000},
            (
                "ISOLINE_MAX_RECORDING_SAMPLES: one caller may hold 536870912 bytes, "
                "a quarter of ISOLINE_MAX_SPOOLED_BYTES, and so many samples take 1600000000"
            ),
        ),
        (
            {"MAX_SPOOLED_BYTES": 1_600_000_000 - 1},
            (
                "ISOLINE_MAX_RECORDING_SAMPLES: one caller may hold 399999999 bytes, "
                "a quarter of ISOLINE_MAX_SPOOLED_BYTES, and so many samples take 400000000"
            ),
        ),
        (
            {"MAX_SPOOLED_BYTES": 2**20, "MAX_RECORDING_SAMPLES": 2_000_000},  # a lead of them is spooled
            (
                "ISOLINE_MAX_RECORDING_SAMPLES: one caller may hold 262144 bytes, "
                "a quarter of ISOLINE_MAX_SPOOLED_BYTES, and so many samples take 8000000"
            ),
        ),
        ({"MAX_LEADS": 2001}, "ISOLINE_MAX_LEADS: no body may have the arrays for more than 2000"),
    ],
)
@pytest.mark.parametrize("kind", [GatewaySettings, EmbeddedSettings])
def test_limits_that_contradict_each_other_are_refused_in_one_sentence(
    environment: pytest.MonkeyPatch,
    kind: type[GatewaySettings | EmbeddedSettings],
    settings: dict[str, int],
    sentence: str,
) -> None:
    for name, value in settings.items():
        environment.setenv(f"ISOLINE_{name}", str(value))

    assert refusal(kind) == sentence


def test_all_limits_that_contradict_each_other_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ISOLINE_MAX_BYTES_IN_FLIGHT", str(2**20))
    environment.setenv("ISOLINE_MAX_SPOOLED_BYTES", str(2**20))

    found = re.findall(r"(?:^|; )(ISOLINE_\w+): ", refusal())

    assert found == [
        "ISOLINE_MAX_BODY_BYTES",
        "ISOLINE_MAX_ECG_SAMPLES",
        "ISOLINE_MAX_RECORDING_SAMPLES",
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"MAX_BYTES_IN_FLIGHT": 2**26},
        {"MAX_BODY_BYTES": 2**26},
        {"MAX_ECG_SAMPLES": 2**23},
        {"MAX_RECORDING_SAMPLES": 2**27},
        {"MAX_SPOOLED_BYTES": 1_600_000_000},
        {"MAX_SPOOLED_BYTES": 2**20, "MAX_RECORDING_SAMPLES": 1_000_000},  # nothing is ever spooled
        {"MAX_LEADS": 2000},
    ],
)
def test_limits_that_just_agree_are_taken(environment: pytest.MonkeyPatch, settings: dict[str, int]) -> None:
    for name, value in settings.items():
        environment.setenv(f"ISOLINE_{name}", str(value))

    read_settings(GatewaySettings)


def test_what_is_given_wins_over_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ISOLINE_WORKERS", "2")

    assert read_settings(GatewaySettings, workers="3").workers == 3
    assert read_settings(GatewaySettings, workers=None).workers == 2


def test_each_worker_has_an_operations_port_of_its_own(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ISOLINE_WORKERS", "3")
    by_default = read_settings(ProcessorSettings)
    environment.setenv("ISOLINE_OPERATIONS_PORT", "9090")
    gateway = read_settings(GatewaySettings)

    assert [by_default.operations_port_of(worker) for worker in (1, 2, 3)] == [8081, 8082, 8083]
    assert [gateway.operations_port_of(worker) for worker in (1, 2, 3)] == [9090, 9091, 9092]


def test_workers_of_a_gateway_take_free_ports_of_loopback_by_default(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ISOLINE_WORKERS", "2")

    settings = read_settings(GatewaySettings)

    assert settings.operations_host == "127.0.0.1"
    assert [settings.operations_port_of(worker) for worker in (1, 2)] == [0, 0]


@pytest.mark.parametrize("kind", [GatewaySettings, ProcessorSettings])
def test_workers_whose_operations_ports_would_not_exist_are_refused(
    environment: pytest.MonkeyPatch, kind: type[GatewaySettings | ProcessorSettings]
) -> None:
    environment.setenv("ISOLINE_OPERATIONS_PORT", "65535")
    environment.setenv("ISOLINE_WORKERS", "2")

    assert refusal(kind) == "ISOLINE_OPERATIONS_PORT: 2 workers would need ports up to 65536"


@pytest.mark.parametrize(("port", "workers"), [("9090", "1"), ("9092", "3")])
def test_an_operations_port_that_is_the_gateways_own_is_refused(
    environment: pytest.MonkeyPatch, port: str, workers: str
) -> None:
    environment.setenv("ISOLINE_OPERATIONS_PORT", "9090")
    environment.setenv("ISOLINE_WORKERS", workers)
    environment.setenv("ISOLINE_PORT", port)

    assert refusal(GatewaySettings) == (
        f"ISOLINE_OPERATIONS_PORT: an operations port would be {port}, as ISOLINE_PORT is"
    )


def test_a_processor_goes_on_knowing_its_operations_port_by_its_older_name(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ISOLINE_HEALTH_HOST", "127.0.0.2")
    environment.setenv("ISOLINE_HEALTH_PORT", "0")
    old = read_settings(ProcessorSettings)
    gateway = read_settings(GatewaySettings)
    environment.setenv("ISOLINE_OPERATIONS_HOST", "127.0.0.3")
    environment.setenv("ISOLINE_OPERATIONS_PORT", "9090")
    both = read_settings(ProcessorSettings)

    assert (old.operations_host, old.operations_port) == ("127.0.0.2", 0)
    assert (both.operations_host, both.operations_port) == ("127.0.0.3", 9090)
    assert (gateway.operations_host, gateway.operations_port) == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("port", "expected"),
    [("65535", "2 workers would need ports up to 65536"), ("65536", "ISOLINE_HEALTH_PORT: ")],
)
def test_an_older_name_is_checked_as_the_newer_one_is(
    environment: pytest.MonkeyPatch, port: str, expected: str
) -> None:
    environment.setenv("ISOLINE_HEALTH_PORT", port)
    environment.setenv("ISOLINE_WORKERS", "2")

    assert expected in refusal(ProcessorSettings)
