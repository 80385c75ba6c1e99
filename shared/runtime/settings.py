"""Every setting, read once from the environment: ``ISOLINE_...``.

A secret may also be a file of that name, in lower case, in the folder ``ISOLINE_SECRETS_DIR``.
"""

from __future__ import annotations

import os
import re
import stat
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.domain.errors import ConfigurationError
from shared.egress import EgressRules, read_networks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic_core import ErrorDetails

PREFIX: Final = "ISOLINE_"
SAMPLE_SECRET: Final = "change-me"  # noqa: S105 - the placeholder of secrets that must be set

# A key or a URL has some hundred bytes.
_MAX_SECRET_BYTES: Final = 64 * 1024
# Opening or reading one of these could block for ever.
_NOT_REGULAR_FILES: Final = {"p": "a named pipe", "s": "a socket", "c": "a device", "b": "a device"}

# A TiB of memory or disk for one worker, and the largest 32-bit integer: more is a typing error.
_MOST_BYTES: Final = 2**40
_MOST: Final = 2**31 - 1
# With a shorter interval a process would do nothing else; with a shorter timeout nothing would succeed.
_SHORTEST_S: Final = 0.01
# Below this, no client could send a head in time, and PostgreSQL would do nothing but look up revocations.
_SHORTEST_IO_S: Final = 0.1
# One caller may hold a quarter of the bytes that all requests may hold, so that others are served meanwhile.
CALLER_LIMIT_DIVISOR: Final = 4
# Samples have 32 bits at the most.
BYTES_PER_SAMPLE: Final = 4
# An ECG is in memory twice: decoded, and encoded for storage.
BYTES_PER_HELD_SAMPLE: Final = 2 * BYTES_PER_SAMPLE
# 800 MB; a longer ECG has to be spooled.
_MOST_SAMPLES_OF_AN_ECG: Final = 200_000_000
# Each takes an array and an object of the 4,096 that a JSON body may have.
_MOST_LEADS: Final = 2000

# Its first segment has no colon unless a scheme goes before it; at most one fragment ends it.
_URI_REFERENCE: Final = (
    r"([A-Za-z][A-Za-z0-9+.-]*:|(?![^/?#]*:))(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-])*"
    r"(#(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:/?@!$&'()*+,;=-])*)?"
)

# A week; who does not want to be warned has an installation that nobody waits for.
_LONGEST_BACKLOG_AGE_S: Final = 7 * 24 * 3600

_LAST_PORT: Final = 65535
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = (
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:]+\])"
    r"(:(?P<port>[1-9][0-9]{0,4}))?"
)
# AMQP names have 255 bytes at most, and the longest of ours 28 behind it.
_LONGEST_NAMESPACE: Final = 200
_AMQP_NUMBERS: Final = frozenset({"heartbeat", "connection_timeout", "channel_max"})


def _no_service_link(value: object) -> object:
    """Refuse what Kubernetes puts into a container for a Service called `isoline`: tcp://10.0.0.1:8080."""
    if isinstance(value, str) and re.match(r"\s*(tcp|udp|sctp)://", value):
        raise ValueError(
            "expected a number, and found the address of a Kubernetes Service that shares its name; "
            "set `enableServiceLinks: false` in the pod, or give the Service another name"
        )
    return value


Port = Annotated[int, Field(ge=0, le=_LAST_PORT), BeforeValidator(_no_service_link)]  # 0 takes a free one


def _url(*schemes: str, lists_urls: bool = False, lists_hosts: bool = False) -> AfterValidator:
    """Refuse an unusable URL, without repeating it: it holds a password.

    Args:
        schemes: The allowed schemes.
        lists_urls: Whether several URLs are allowed, with commas between them.
        lists_hosts: Whether one URL may name several hosts, with commas between them.
    """

    def is_usable(url: str) -> bool:
        try:
            parts = urlsplit(url)
            hosts = parts.netloc.rpartition("@")[2].split(",") if lists_hosts else [parts.netloc]
            has_ports = all(urlsplit(f"//{host}").port != 0 for host in hosts)
        except ValueError:
            return False
        return parts.scheme in schemes and has_ports and (len(hosts) == 1 or all(hosts))

    def check(url: SecretStr) -> SecretStr:
        text = url.get_secret_value().strip()
        if not text.isprintable():
            raise ValueError("holds a line break, or white space that no URL has")
        if not all(map(is_usable, re.split(r",(?=\w+://)", text) if lists_urls else [text])):
            raise ValueError(f"expected {schemes[0]}://user:password@host:port/name, the port a number")
        return SecretStr(text)

    return AfterValidator(check)


def _optional(check: AfterValidator) -> AfterValidator:
    """The check of a URL that may be empty."""
    return AfterValidator(lambda url: check.func(url) if url.get_secret_value() else url)  # type: ignore[call-arg]


def _amqp_numbers(url: SecretStr) -> SecretStr:
    """Refuse a parameter that has to be a number and is not: the library would ignore it."""
    for name, value in re.findall(r"[?&]([^=&]*)=([^&,]*)", url.get_secret_value()):
        if name in _AMQP_NUMBERS and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            raise ValueError(f"its parameter {name} has to be a number")
    return url


def _path_prefix(prefix: str) -> str:
    """Without a trailing slash. URLs begin with it: two slashes would name another host."""
    path = prefix.removesuffix("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("expected a path like /isoline, of A-Z a-z 0-9 . _ ~ - between slashes")
    return path


def _origins(text: str) -> str:
    """Origins with commas between them, written as browsers send them: no other spelling would ever match."""
    origins = _split_origins(text)
    for number, origin in enumerate(origins, 1):
        if origin == "*":
            raise ValueError("* would let every page call; name each origin")
        if origin == "null":
            raise ValueError(
                "null is the origin of files and sandboxed frames of anybody; name those of web servers"
            )
        if not _is_origin(origin):
            raise ValueError(
                f"origin {number}: expected one as browsers send it, such as https://app.example.org or "
                "http://localhost:3000: http or https, the host in lower case, a port only if it is not the "
                "scheme's, and nothing after it"
            )
        if origin in origins[: number - 1]:
            raise ValueError(f"origin {number} is named before")
    return ",".join(origins)


def _split_origins(text: str) -> list[str]:
    return [origin.strip() for origin in text.split(",")] if text.strip() else []


def _is_origin(text: str) -> bool:
    match = re.fullmatch(_ORIGIN, text)
    if match is None:
        return False
    port = match["port"]
    return _is_host(match["host"]) and (
        port is None or (int(port) <= _LAST_PORT and int(port) != _DEFAULT_PORTS[match["scheme"]])
    )


def _is_host(host: str) -> bool:
    """Whether it is a name, or an IP address in its shortest form."""
    is_name = not host.startswith("[") and not host.rpartition(".")[2].isdigit()
    try:
        return is_name or str(ip_address(host.strip("[]"))) == host.strip("[]")
    except ValueError:
        return False


def _networks(text: str) -> str:
    """Networks in CIDR form with commas between them, without white space."""
    return ",".join(map(str, read_networks(text)))


def _uri_reference(source: str) -> str:
    """A URI or a relative reference (RFC 3986), as CloudEvents require of a source; or empty."""
    try:
        urlsplit(source)  # refuses brackets without an IP address
    except ValueError:
        is_one = False
    else:
        is_one = re.fullmatch(_URI_REFERENCE, source) is not None
    if not is_one:
        raise ValueError("expected a URI such as https://example.org/isoline or urn:uuid:...")
    return source


class Settings(BaseSettings):
    """Values from the environment; an empty one is unset: compose files pass unset ones as empty."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    @model_validator(mode="before")
    @classmethod
    def _check_no_invisible_characters(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Refuse invisible characters, such as the byte order mark of an editor."""
        for name, value in given.items():
            for character in value if isinstance(value, str) else "":
                if not (character.isprintable() or character.isspace()):
                    code = f"U+{ord(character):04X}"
                    raise ValueError(f"{PREFIX}{name.upper()}: holds a character that can't be seen, {code}")
        return given


class LogSettings(Settings):
    """Logging."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


class DatabaseSettings(LogSettings):
    """The connection to PostgreSQL."""

    database_url: Annotated[SecretStr, _url("postgresql", "postgres", lists_hosts=True)]
    database_connections: Annotated[int, Field(ge=1, le=1000)] = 10


class OperationsSettings(Settings):
    """The operations port of a worker, a free port of this machine if none is set; and its health."""

    operations_host: str = "127.0.0.1"
    operations_port: Port = 0
    backlog_age_warning_s: Annotated[float, Field(ge=1, le=_LONGEST_BACKLOG_AGE_S)] = 120.0

    @property
    def operations_ports(self) -> range:
        """The operations ports of all workers; none where they are free ones."""
        return range(self.operations_port, self.operations_port + 1) if self.operations_port else range(0)


class WorkerSettings(OperationsSettings):
    """Number of worker processes, each with an operations port."""

    # Each is a whole service with connections of its own; more than one per CPU only costs.
    workers: Annotated[int, Field(ge=1, le=64)] = 1

    @property
    def operations_ports(self) -> range:
        """The operations ports of all workers, which are consecutive; none where they are free ones."""
        first = self.operations_port
        return range(first, first + self.workers) if first else range(0)

    def operations_port_of(self, worker: int) -> int:
        """The operations port of a worker, numbered from 1; 0 for a free one."""
        return self.operations_ports[worker - 1] if self.operations_port else 0

    @model_validator(mode="after")
    def _check_port_for_each_worker(self) -> Self:
        if (last := self.operations_port_of(self.workers)) > _LAST_PORT:
            raise ValueError(f"{PREFIX}OPERATIONS_PORT: {self.workers} workers would need ports up to {last}")
        return self


class BrokerNameSettings(Settings):
    """The names at RabbitMQ."""

    amqp_namespace: Annotated[str, Field(pattern="^[a-z0-9.-]*$", max_length=_LONGEST_NAMESPACE)] = ""


class BrokerSettings(BrokerNameSettings):
    """The connection to RabbitMQ."""

    amqp_url: Annotated[SecretStr, _url("amqp", "amqps", lists_urls=True), AfterValidator(_amqp_numbers)]


class SubscribersBrokerSettings(BrokerNameSettings):
    """The connection to a RabbitMQ that is for subscribers alone; none if empty."""

    amqp_url: Annotated[
        SecretStr, _optional(_url("amqp", "amqps", lists_urls=True)), AfterValidator(_amqp_numbers)
    ] = SecretStr("")


class EventSettings(Settings):
    """The source that events name; if empty, the one in the database."""

    source: Annotated[str, Field(max_length=256), AfterValidator(_uri_reference)] = ""


class WebhookSettings(Settings):
    """Where webhooks may lead beside public addresses."""

    webhook_networks: Annotated[str, AfterValidator(_networks)] = ""

    @property
    def egress_rules(self) -> EgressRules:
        """Which addresses a webhook may call."""
        return EgressRules(read_networks(self.webhook_networks))


class SubmissionLimits(Settings):
    """Limits of one submission."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    max_leads: Annotated[int, Field(ge=1)] = 32
    max_lead_samples: Annotated[int, Field(ge=1, le=_MOST)] = 1_000_000
    max_ecg_samples: Annotated[int, Field(ge=1, le=_MOST_SAMPLES_OF_AN_ECG)] = 2_000_000
    max_recording_samples: Annotated[int, Field(ge=1, le=_MOST)] = 100_000_000


class RequestLimits(Settings):
    """Rate limits, byte budgets and trusted proxies."""

    rate_per_caller: Annotated[int, Field(ge=0, le=_MOST)] = 600_000
    rate_per_address: Annotated[int, Field(ge=0, le=_MOST)] = 600_000
    rate_of_logins: Annotated[int, Field(ge=0, le=_MOST)] = 600
    redis_url: SecretStr = SecretStr("")
    trusted_proxies: Annotated[int, Field(ge=0, le=16)] = 0
    read_timeout_s: Annotated[float, Field(ge=_SHORTEST_IO_S, le=300)] = 10.0
    max_connections: Annotated[int, Field(ge=1, le=_MOST)] = 4096
    max_bytes_in_flight: Annotated[int, Field(ge=2**20, le=_MOST_BYTES)] = 256 * 2**20
    max_spooled_bytes: Annotated[int, Field(ge=2**20, le=_MOST_BYTES)] = 2 * 2**30
    spool_dir: str = ""

    def redis_url_or_none(self) -> str | None:
        """The Redis in which gateways share counters; None if each gateway counts by itself."""
        return self.redis_url.get_secret_value() or None


class ExternalIssuerSettings(Settings):
    """The external issuer whose tokens are accepted beside our own; none if empty."""

    oidc_issuer: Annotated[str, Field(pattern=r"^(https?://[^#?\s]+)?$")] = ""
    oidc_audience: str = ""
    oidc_jwks_url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    oidc_roles_claim: Annotated[str, Field(pattern=r"[^.\s]")] = "roles"

    @model_validator(mode="after")
    def _check_issuer_is_complete(self) -> Self:
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError(f"{PREFIX}OIDC_AUDIENCE is needed beside {PREFIX}OIDC_ISSUER")
        if self.oidc_issuer.startswith("https:") and self.oidc_jwks_url.startswith("http:"):
            raise ValueError(
                f"{PREFIX}OIDC_JWKS_URL: the keys of an issuer with https have to come by https, "
                "or whoever is on the way could put in theirs"
            )
        return self


class GatewayOnlySettings(
    SubmissionLimits,
    RequestLimits,
    ExternalIssuerSettings,
    EventSettings,
    WebhookSettings,
    OperationsSettings,
):
    """Settings of the gateway beside database and broker."""

    host: str = "0.0.0.0"  # nosec B104 # noqa: S104 - a service in a container listens on all of its interfaces
    port: Port = 8080
    path_prefix: Annotated[str, Field(max_length=256), AfterValidator(_path_prefix)] = ""
    cors_origins: Annotated[str, AfterValidator(_origins)] = ""
    token_issuer: str = "isoline"  # noqa: S105 - a name
    token_audience: str = "isoline"  # noqa: S105 - a name
    token_lifetime_s: Annotated[int, Field(ge=30, le=900)] = 900
    refresh_lifetime_s: Annotated[int, Field(ge=60, le=366 * 24 * 3600)] = 14 * 24 * 3600
    revocation_s: Annotated[float, Field(ge=_SHORTEST_IO_S, le=60)] = 5.0
    password_min_length: Annotated[int, Field(ge=1, le=128)] = 8
    publish_timeout_s: Annotated[float, Field(ge=_SHORTEST_S, le=30)] = 2.0
    result_cache_bytes: Annotated[int, Field(ge=0, le=_MOST_BYTES)] = 16 * 2**20
    max_backlog: Annotated[int, Field(ge=1, le=_MOST)] = 100_000
    drain_s: Annotated[float, Field(ge=0, le=10)] = 2.0

    @property
    def allowed_origins(self) -> Sequence[str]:
        """The origins whose pages may call; none by default."""
        return _split_origins(self.cors_origins)

    @model_validator(mode="after")
    def _check_ports_differ(self) -> Self:
        if self.port in self.operations_ports:
            raise ValueError(
                f"{PREFIX}OPERATIONS_PORT: an operations port would be {self.port}, as {PREFIX}PORT is"
            )
        return self

    @model_validator(mode="after")
    def _check_limits_agree(self) -> Self:
        """Refuse limits that contradict each other: the largest allowed submission would get 503 for ever."""
        if problems := [*self._memory_problems(), *self._spool_problems()]:
            raise ValueError("; ".join(problems))
        return self

    def _memory_problems(self) -> Iterator[str]:
        per_caller = self.max_bytes_in_flight // CALLER_LIMIT_DIVISOR
        quarter = f"one caller may hold {per_caller} bytes, a quarter of {PREFIX}MAX_BYTES_IN_FLIGHT"
        if self.max_body_bytes > per_caller:
            yield f"{PREFIX}MAX_BODY_BYTES: {quarter}, and a body no more"
        if (needed := BYTES_PER_HELD_SAMPLE * self.max_ecg_samples) > per_caller:
            yield f"{PREFIX}MAX_ECG_SAMPLES: {quarter}, and so many samples take {needed}"
        if self.max_leads > _MOST_LEADS:
            yield f"{PREFIX}MAX_LEADS: no body may have the arrays for more than {_MOST_LEADS}"

    def _spool_problems(self) -> Iterator[str]:
        per_caller = self.max_spooled_bytes // CALLER_LIMIT_DIVISOR
        needed = BYTES_PER_SAMPLE * self.max_recording_samples
        is_any_spooled = self.max_recording_samples > min(self.max_ecg_samples, self.max_lead_samples)
        if is_any_spooled and needed > per_caller:
            yield (
                f"{PREFIX}MAX_RECORDING_SAMPLES: one caller may hold {per_caller} bytes, "
                f"a quarter of {PREFIX}MAX_SPOOLED_BYTES, and so many samples take {needed}"
            )


class OperatorAccessSettings(Settings):
    """Accounts with an operator's rights at both servers, for the operations API; if empty, the gateway's."""

    operator_database_url: Annotated[
        SecretStr, _optional(_url("postgresql", "postgres", lists_hosts=True))
    ] = SecretStr("")
    operator_amqp_url: Annotated[SecretStr, _optional(_url("amqp", "amqps", lists_urls=True))] = SecretStr("")


class TokenKeySettings(Settings):
    """The key that signs tokens."""

    token_key: SecretStr


class GatewaySettings(
    GatewayOnlySettings,
    TokenKeySettings,
    DatabaseSettings,
    BrokerSettings,
    OperatorAccessSettings,
    WorkerSettings,
):
    """Settings of ``python -m gateway``."""

    @property
    def urls_of_operators(self) -> tuple[str, str]:
        """Where the operations API finds PostgreSQL and RabbitMQ."""
        database_url = self.operator_database_url.get_secret_value() or self.database_url.get_secret_value()
        return database_url, self.operator_amqp_url.get_secret_value() or self.amqp_url.get_secret_value()

    @model_validator(mode="after")
    def _check_no_sample_secrets(self) -> Self:
        return _without_sample_secrets(self)


class RetentionSettings(Settings):
    """How long finished ECGs are kept; for ever if it is not set."""

    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None
    retention_ecgs_per_s: Annotated[int, Field(ge=1, le=100_000)] = 500

    @property
    def retention_period(self) -> timedelta | None:
        """How long finished ECGs are kept; None for ever."""
        return None if self.retention_days is None else timedelta(days=self.retention_days)


class EventLogSettings(Settings):
    """How long subscribers may read what happened."""

    event_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30


class ProcessorOnlySettings(EventSettings, RetentionSettings, EventLogSettings, WebhookSettings):
    """Settings of the processor beside database and broker."""

    webhook_ca_file: str = ""
    prefetch: Annotated[int, Field(ge=1, le=10_000)] = 320  # five batches, so that one is always prefetched
    batch_messages: Annotated[int, Field(ge=1, le=1000)] = 64
    concurrency: Annotated[int, Field(ge=1, le=64)] = 1  # with two, each gets batches of half the size
    batch_samples: Annotated[int, Field(ge=1, le=_MOST)] = 4_000_000  # 66 ECGs of 12 leads x 10 s x 500 Hz
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    relay_interval_s: Annotated[float, Field(ge=_SHORTEST_S, le=60)] = 1.0


class OperatorSettings(DatabaseSettings, BrokerSettings):
    """Everything that the commands of operators need on real servers."""


class ProcessorSettings(ProcessorOnlySettings, DatabaseSettings, BrokerSettings, WorkerSettings):
    """Settings of ``python -m processor``."""

    operations_host: str = "0.0.0.0"  # nosec B104 # noqa: S104 - see `GatewayOnlySettings.host`
    operations_port: Port = 8081
    # Old names of the operations port.
    health_host: str = ""
    health_port: Port | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        old = {name: given[f"health_{name}"] for name in ("host", "port") if f"health_{name}" in given}
        return {f"operations_{name}": value for name, value in old.items()} | given

    @model_validator(mode="after")
    def _check_no_sample_secrets(self) -> Self:
        return _without_sample_secrets(self)


class EmbeddedSettings(GatewayOnlySettings, ProcessorOnlySettings, SubscribersBrokerSettings, LogSettings):
    """Settings of the embedded mode, all optional; it is for one developer on one machine."""

    host: str = "127.0.0.1"  # its demo accounts have known passwords
    password_min_length: Annotated[int, Field(ge=1, le=128)] = 4
    drain_s: Annotated[float, Field(ge=0, le=10)] = 0.0  # there is no other gateway to fail over to
    webhook_networks: Annotated[str, AfterValidator(_networks)] = "127.0.0.0/8,::1/128"
    var: Path = Path("var")

    def for_network(self) -> Self:
        """With a gateway's defaults where one developer's would be unsafe: other machines reach the host."""
        of_gateway = {
            name: GatewayOnlySettings.model_fields[name].default
            for name in ("password_min_length", "webhook_networks")
            if name not in self.model_fields_set
        }
        return self.model_copy(update=of_gateway)


_S = TypeVar("_S", bound=BaseSettings)


def read_settings(kind: type[_S], **given: Any) -> _S:
    """The settings of a process, from its environment.

    Args:
        kind: The class of settings.
        given: Values that override the environment, by name, unless None or empty.

    Raises:
        ConfigurationError: Names every setting that is missing or wrong, without its value.
    """
    secrets = {name: text for name, text in _secrets(kind).items() if not is_in_environment(name)}
    try:
        return kind(**secrets | {name: value for name, value in given.items() if value})
    except ValidationError as error:
        wrong = map(_sentence, error.errors(include_input=False, include_url=False))
        raise ConfigurationError("; ".join(wrong)) from None


def is_set(kind: type[BaseSettings], name: str) -> bool:
    """Whether this setting is in the environment or in the folder of secrets.

    Raises:
        ConfigurationError: A file of secrets can't be read.
    """
    return is_in_environment(name) or name in _secrets(kind)


def is_in_environment(name: str) -> bool:
    """Whether this setting is in the environment, which wins over the folder of secrets."""
    return any(value and key.upper() == f"{PREFIX}{name}".upper() for key, value in os.environ.items())


def _secrets(kind: type[BaseSettings]) -> dict[str, str]:
    """The contents of the files of secrets, by setting; without empty ones."""
    folder = os.environ.get(f"{PREFIX}SECRETS_DIR")
    if not folder:
        return {}
    try:
        files = {file.name.lower(): file for file in sorted(Path(folder).iterdir())}
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"{PREFIX}SECRETS_DIR: there is no folder {folder}") from None
    except OSError as error:
        raise ConfigurationError(f"{PREFIX}SECRETS_DIR: can't read {folder}: {error.strerror}") from None
    texts, wrong = {}, []
    for name in kind.model_fields:
        if file := files.get(f"{PREFIX}{name}".lower()):
            try:
                texts[name] = _text_of(file)
            except ValueError as error:
                wrong.append(f"{PREFIX}{name.upper()}: {error}")
    if wrong:
        raise ConfigurationError("; ".join(wrong))
    return {name: text for name, text in texts.items() if text}


def _text_of(file: Path) -> str:
    """The text of a file, without byte order mark and surrounding white space.

    Raises:
        ValueError: It can't be read, or is no such text.
    """
    try:
        if what := _NOT_REGULAR_FILES.get(stat.filemode(file.stat().st_mode)[0]):
            raise ValueError(f"{file} is {what} and no file")
        with file.open("rb") as opened:
            content = opened.read(_MAX_SECRET_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(f"{file} leads to no file") from None
    except OSError as error:
        raise ValueError(f"can't read {file}: {error.strerror}") from None
    if len(content) > _MAX_SECRET_BYTES:
        raise ValueError(f"{file} has more than {_MAX_SECRET_BYTES} bytes")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text in UTF-8") from None


def _sentence(problem: ErrorDetails) -> str:
    """The error of a setting, in words that don't need knowledge of pydantic."""
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    detail = {"missing": "is required and not set"}.get(problem["type"], message)
    return f"{PREFIX}{problem['loc'][0]!s}".upper() + f": {detail}" if problem["loc"] else detail


def _without_sample_secrets(settings: _S) -> _S:
    for name, value in settings:
        if isinstance(value, SecretStr) and SAMPLE_SECRET in value.get_secret_value():
            raise ValueError(f"{PREFIX}{name.upper()}: still holds the sample secret {SAMPLE_SECRET!r}")
    return settings
