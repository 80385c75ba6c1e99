"""Every setting, read once from the environment: ``ISOLINE_...``.

A secret may also be a file of that name, in lower case, in the folder ``ISOLINE_SECRETS_DIR``.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

PREFIX: Final = "ISOLINE_"
SAMPLE_SECRET: Final = "change-me"  # noqa: S105 - the word that marks a secret nobody has set yet

# A key or a URL has some hundred bytes.
_MAX_SECRET_BYTES: Final = 64 * 1024
# To open one of them, or to read it, could take for ever.
_NO_FILES: Final = {"p": "a named pipe", "s": "a socket", "c": "a device", "b": "a device"}

# A TiB of memory or disk for one worker, and what 32 bits count: more is a slip of the pen.
_MOST_BYTES: Final = 2**40
_MOST: Final = 2**31 - 1
# With less, a process would do nothing else, or give up whatever it begins;
_SHORTEST_S: Final = 0.01
# and no client would have sent a head, nor PostgreSQL done anything but look up revocations.
_SHORTEST_FOR_OTHERS_S: Final = 0.1
# One caller may hold this part of what all requests may hold; the others are served meanwhile.
PART_OF_ONE: Final = 4
# Samples have 32 bits at the most.
BYTES_PER_SAMPLE: Final = 4
# An ECG in memory is held as it was read and as it will be stored.
BYTES_PER_HELD_SAMPLE: Final = 2 * BYTES_PER_SAMPLE
# 800 MB of them; what is longer has to be spooled.
_MOST_SAMPLES_OF_AN_ECG: Final = 200_000_000
# Each takes an array and an object of the 4,096 that a JSON body may have.
_MOST_LEADS: Final = 2000

# Its first segment has no colon unless a scheme goes before it; at most one fragment ends it.
_URI_REFERENCE: Final = (
    r"([A-Za-z][A-Za-z0-9+.-]*:|(?![^/?#]*:))(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-])*"
    r"(#(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:/?@!$&'()*+,;=-])*)?"
)

_LAST_PORT: Final = 65535
Port = Annotated[int, Field(ge=0, le=_LAST_PORT)]  # 0 takes any that is free


def _url(*schemes: str, lists_urls: bool = False, lists_hosts: bool = False) -> AfterValidator:
    """Refuse a URL that no attempt to connect can mend, without repeating it: it holds a password.

    Args:
        schemes: How it may begin.
        lists_urls: Whether several may follow each other, with commas between them.
        lists_hosts: Whether one may name several hosts, with commas between them.
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


def _path_prefix(prefix: str) -> str:
    """Without a last slash. It begins URLs: two slashes, or what a path can't hold, would lead elsewhere."""
    path = prefix.removesuffix("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("expected a path like /isoline, of A-Z a-z 0-9 . _ ~ - between slashes")
    return path


def _uri_reference(source: str) -> str:
    """A URI or a relative reference (RFC 3986), as CloudEvents want a source to be; or nothing."""
    try:
        urlsplit(source)  # refuses brackets that hold no address
    except ValueError:
        is_one = False
    else:
        is_one = re.fullmatch(_URI_REFERENCE, source) is not None
    if not is_one:
        raise ValueError("expected a URI such as https://example.org/isoline or urn:uuid:...")
    return source


class Settings(BaseSettings):
    """Values from the environment; an empty one, which compose files make of an unset one, counts as none."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)

    @model_validator(mode="before")
    @classmethod
    def _nothing_invisible(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Refuse what nobody would find who looks at it, such as the byte order mark of an editor."""
        for name, value in given.items():
            for character in value if isinstance(value, str) else "":
                if not (character.isprintable() or character.isspace()):
                    code = f"U+{ord(character):04X}"
                    raise ValueError(f"{PREFIX}{name.upper()}: holds a character that can't be seen, {code}")
        return given


class LogSettings(Settings):
    """How a process tells what it does."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"


class DatabaseSettings(LogSettings):
    """Where PostgreSQL is."""

    database_url: Annotated[SecretStr, _url("postgresql", "postgres", lists_hosts=True)]
    database_connections: Annotated[int, Field(ge=1, le=1000)] = 10


class OperationsSettings(Settings):
    """Where a worker tells its operators how it is; any free port of this machine if none is named."""

    operations_host: str = "127.0.0.1"
    operations_port: Port = 0


class WorkerSettings(OperationsSettings):
    """How many processes one command runs, each with an operations port."""

    # Each is a whole service with connections of its own; past one for each processor they only cost.
    workers: Annotated[int, Field(ge=1, le=64)] = 1

    def operations_port_of(self, worker: int) -> int:
        """The operations port of the worker of this number, from 1: each one's is the next; 0 is any."""
        return self.operations_port + worker - 1 if self.operations_port else 0

    @model_validator(mode="after")
    def _port_for_each_worker(self) -> Self:
        if (last := self.operations_port_of(self.workers)) > _LAST_PORT:
            raise ValueError(f"{PREFIX}OPERATIONS_PORT: {self.workers} workers would need ports up to {last}")
        return self


class BrokerSettings(Settings):
    """Where RabbitMQ is."""

    amqp_url: Annotated[SecretStr, _url("amqp", "amqps", lists_urls=True)]
    amqp_namespace: Annotated[str, Field(pattern="^[a-z0-9.-]*$")] = ""


class EventSettings(Settings):
    """What events say of where they come from; an empty source is the one that the database holds."""

    source: Annotated[str, Field(max_length=256), AfterValidator(_uri_reference)] = ""


class SubmissionLimits(Settings):
    """What one submission may cost."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    max_leads: Annotated[int, Field(ge=1)] = 32
    max_lead_samples: Annotated[int, Field(ge=1, le=_MOST)] = 1_000_000
    max_ecg_samples: Annotated[int, Field(ge=1, le=_MOST_SAMPLES_OF_AN_ECG)] = 2_000_000
    max_recording_samples: Annotated[int, Field(ge=1, le=_MOST)] = 100_000_000


class RequestLimits(Settings):
    """What requests may cost, and who is counted as whom."""

    rate_per_caller: Annotated[int, Field(ge=0, le=_MOST)] = 600_000
    rate_per_address: Annotated[int, Field(ge=0, le=_MOST)] = 600_000
    rate_of_logins: Annotated[int, Field(ge=0, le=_MOST)] = 600
    redis_url: SecretStr = SecretStr("")
    trusted_proxies: Annotated[int, Field(ge=0, le=16)] = 0
    read_timeout_s: Annotated[float, Field(ge=_SHORTEST_FOR_OTHERS_S, le=300)] = 10.0
    max_bytes_in_flight: Annotated[int, Field(ge=2**20, le=_MOST_BYTES)] = 256 * 2**20
    max_spooled_bytes: Annotated[int, Field(ge=2**20, le=_MOST_BYTES)] = 2 * 2**30
    spool_dir: str = ""

    def redis_url_or_none(self) -> str | None:
        """Where counts are shared; None where each gateway counts by itself."""
        return self.redis_url.get_secret_value() or None


class ExternalIssuerSettings(Settings):
    """Whose tokens are taken beside our own; an empty issuer is nobody."""

    oidc_issuer: Annotated[str, Field(pattern=r"^(https?://[^#?\s]+)?$")] = ""
    oidc_audience: str = ""
    oidc_jwks_url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    oidc_roles_claim: Annotated[str, Field(min_length=1)] = "roles"

    @model_validator(mode="after")
    def _whole_issuer(self) -> Self:
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError(f"{PREFIX}OIDC_AUDIENCE is needed beside {PREFIX}OIDC_ISSUER")
        if self.oidc_issuer.startswith("https:") and self.oidc_jwks_url.startswith("http:"):
            raise ValueError(
                f"{PREFIX}OIDC_JWKS_URL: the keys of an issuer with https have to come by https, "
                "or whoever is on the way could put in theirs"
            )
        return self


class GatewayOnlySettings(
    SubmissionLimits, RequestLimits, ExternalIssuerSettings, EventSettings, OperationsSettings
):
    """What the gateway needs beside a database and a broker."""

    host: str = "0.0.0.0"  # nosec B104 # noqa: S104 - a service in a container listens on all of its interfaces
    port: Port = 8080
    path_prefix: Annotated[str, Field(max_length=256), AfterValidator(_path_prefix)] = ""
    token_issuer: str = "isoline"  # noqa: S105 - a name
    token_audience: str = "isoline"  # noqa: S105 - a name
    token_lifetime_s: Annotated[int, Field(ge=30, le=900)] = 900
    refresh_lifetime_s: Annotated[int, Field(ge=60, le=366 * 24 * 3600)] = 14 * 24 * 3600
    revocation_s: Annotated[float, Field(ge=_SHORTEST_FOR_OTHERS_S, le=60)] = 5.0
    password_min_length: Annotated[int, Field(ge=1, le=128)] = 8
    publish_timeout_s: Annotated[float, Field(ge=_SHORTEST_S, le=30)] = 2.0
    result_cache_bytes: Annotated[int, Field(ge=0, le=_MOST_BYTES)] = 16 * 2**20
    max_backlog: Annotated[int, Field(ge=1, le=_MOST)] = 100_000
    drain_s: Annotated[float, Field(ge=0, le=10)] = 2.0

    @model_validator(mode="after")
    def _limits_that_agree(self) -> Self:
        """Refuse limits by which the largest that may be sent would be told to come again, for ever."""
        if problems := [*self._memory_problems(), *self._spool_problems()]:
            raise ValueError("; ".join(problems))
        return self

    def _memory_problems(self) -> Iterator[str]:
        share = self.max_bytes_in_flight // PART_OF_ONE
        quarter = f"one caller may hold {share} bytes, a quarter of {PREFIX}MAX_BYTES_IN_FLIGHT"
        if self.max_body_bytes > share:
            yield f"{PREFIX}MAX_BODY_BYTES: {quarter}, and a body no more"
        if (needed := BYTES_PER_HELD_SAMPLE * self.max_ecg_samples) > share:
            yield f"{PREFIX}MAX_ECG_SAMPLES: {quarter}, and so many samples take {needed}"
        if self.max_leads > _MOST_LEADS:
            yield f"{PREFIX}MAX_LEADS: no body may have the arrays for more than {_MOST_LEADS}"

    def _spool_problems(self) -> Iterator[str]:
        share = self.max_spooled_bytes // PART_OF_ONE
        needed = BYTES_PER_SAMPLE * self.max_recording_samples
        is_any_spooled = self.max_recording_samples > min(self.max_ecg_samples, self.max_lead_samples)
        if is_any_spooled and needed > share:
            yield (
                f"{PREFIX}MAX_RECORDING_SAMPLES: one caller may hold {share} bytes, "
                f"a quarter of {PREFIX}MAX_SPOOLED_BYTES, and so many samples take {needed}"
            )


class TokenKeySettings(Settings):
    """What signs tokens."""

    token_key: SecretStr


class GatewaySettings(
    GatewayOnlySettings, TokenKeySettings, DatabaseSettings, BrokerSettings, WorkerSettings
):
    """What ``python -m gateway`` needs."""

    @model_validator(mode="after")
    def _no_sample_secrets(self) -> Self:
        return _without_sample_secrets(self)


class ProcessorOnlySettings(EventSettings):
    """What the processor needs beside a database and a broker."""

    prefetch: Annotated[int, Field(ge=1, le=10_000)] = 320  # five batches: one is always there
    batch_messages: Annotated[int, Field(ge=1, le=1000)] = 64
    concurrency: Annotated[int, Field(ge=1, le=64)] = 1  # of two, each finds half as much waiting
    batch_samples: Annotated[int, Field(ge=1, le=_MOST)] = 4_000_000  # 66 ECGs of 12 leads x 10 s x 500 Hz
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    relay_interval_s: Annotated[float, Field(ge=_SHORTEST_S, le=60)] = 1.0


class ProcessorSettings(ProcessorOnlySettings, DatabaseSettings, BrokerSettings, WorkerSettings):
    """What ``python -m processor`` needs."""

    operations_host: str = "0.0.0.0"  # nosec B104 # noqa: S104 - see `GatewayOnlySettings.host`
    operations_port: Port = 8081
    # Their names from when it was for health alone.
    health_host: str = ""
    health_port: Port | None = None

    @model_validator(mode="before")
    @classmethod
    def _under_their_old_names(cls, given: dict[str, Any]) -> dict[str, Any]:
        old = {name: given[f"health_{name}"] for name in ("host", "port") if f"health_{name}" in given}
        return {f"operations_{name}": value for name, value in old.items()} | given

    @model_validator(mode="after")
    def _no_sample_secrets(self) -> Self:
        return _without_sample_secrets(self)


class EmbeddedSettings(GatewayOnlySettings, ProcessorOnlySettings, LogSettings):
    """What the embedded mode needs: nothing; it is for one developer on one machine."""

    host: str = "127.0.0.1"  # its demo accounts are no secret
    password_min_length: Annotated[int, Field(ge=1, le=128)] = 4
    drain_s: Annotated[float, Field(ge=0, le=10)] = 0.0  # there is no other gateway to turn to
    var: Path = Path("var")

    def for_other_machines(self) -> Self:
        """For a host that they reach: new passwords are as long as a gateway's, unless told otherwise."""
        if "password_min_length" in self.model_fields_set:
            return self
        length = GatewayOnlySettings.model_fields["password_min_length"].default
        return self.model_copy(update={"password_min_length": length})


_S = TypeVar("_S", bound=BaseSettings)


def read_settings(kind: type[_S], **given: Any) -> _S:
    """The settings that a process needs, from its environment.

    Args:
        kind: Which they are.
        given: Those that win over the environment, by name; None and what is empty do not.

    Raises:
        ConfigurationError: Names every setting that is missing or wrong, without its value.
    """
    secrets = {name: text for name, text in _secrets(kind).items() if not _is_in_environment(name)}
    try:
        return kind(**secrets | {name: value for name, value in given.items() if value})
    except ValidationError as error:
        wrong = map(_sentence, error.errors(include_input=False, include_url=False))
        raise ConfigurationError("; ".join(wrong)) from None


def is_set(kind: type[BaseSettings], name: str) -> bool:
    """Whether one of these settings is in the environment, or in the folder of secrets.

    Raises:
        ConfigurationError: A secret of these settings can't be read.
    """
    return _is_in_environment(name) or name in _secrets(kind)


def _is_in_environment(name: str) -> bool:
    return any(value and key.upper() == f"{PREFIX}{name}".upper() for key, value in os.environ.items())


def _secrets(kind: type[BaseSettings]) -> dict[str, str]:
    """What the files of secrets say, by the names of the settings that they are for; an empty one is none."""
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
    """What a file says, without the byte order mark and the white space around it.

    Raises:
        ValueError: It can't be read, or is no such text.
    """
    try:
        if what := _NO_FILES.get(stat.filemode(file.stat().st_mode)[0]):
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
    """What is wrong with which setting, in words that don't need to know our library."""
    message = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    said = {"missing": "is required and not set"}.get(problem["type"], message)
    return f"{PREFIX}{problem['loc'][0]!s}".upper() + f": {said}" if problem["loc"] else said


def _without_sample_secrets(settings: _S) -> _S:
    for name, value in settings:
        if isinstance(value, SecretStr) and SAMPLE_SECRET in value.get_secret_value():
            raise ValueError(f"{PREFIX}{name.upper()}: still holds the sample secret {SAMPLE_SECRET!r}")
    return settings
