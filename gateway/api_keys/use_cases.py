"""Create, list and revoke API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid4

from shared.domain.account import USER_NAME, Account, Role
from shared.domain.api_key import KEY_ROLES, ApiKey, hash_secret, new_secret, shown_prefix
from shared.domain.errors import ConflictError, DeniedError, NotFoundError, advising
from shared.ports.api_keys import NewApiKey

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.ports.accounts import AccountStore
    from shared.ports.api_keys import ApiKeyStore

# Enough for the devices of a ward; those of a hospital have an account for each ward.
MAX_KEYS: Final = 100
MAX_LIFETIME_DAYS: Final = 1825
_DAY_S: Final = 86_400


class CreatedApiKey(NamedTuple):
    """A new key, and its secret, which is known only now."""

    key: ApiKey
    secret: str


async def create_api_key(
    owner: str,
    name: str,
    *,
    roles: Collection[Role],
    lifetime_days: int | None,
    keys: ApiKeyStore,
    accounts: AccountStore,
) -> CreatedApiKey:
    """Create an API key of an account.

    Args:
        owner: The account's name.
        name: What the key is called.
        roles: What it may do.
        lifetime_days: Days until it expires; None if it does not.
        keys: All keys.
        accounts: All accounts.

    Raises:
        NotFoundError: There is no such account.
        DeniedError: The account lacks a role, or no key may have it.
        ConflictError: The account has `MAX_KEYS` keys.
        UnavailableError: It may have been created; the list tells whether it was.
    """
    account = await _find_account(owner, accounts)
    _check_roles(account, roles)
    secret = new_secret()
    new = NewApiKey(
        id=uuid4(),
        account=owner,
        name=name,
        prefix=shown_prefix(secret),
        secret_hash=hash_secret(secret),
        roles=frozenset(roles),
        lifetime_s=None if lifetime_days is None else lifetime_days * _DAY_S,
    )
    with advising("It may have been created: look at your API keys before you create it again."):
        key = await keys.add(new, limit=MAX_KEYS)
    if key is None:
        raise ConflictError(f"The account {owner} has {MAX_KEYS} API keys, the most; revoke one first.")
    return CreatedApiKey(key, secret)


async def list_api_keys(owner: str, *, keys: ApiKeyStore, accounts: AccountStore) -> list[ApiKey]:
    """All API keys of an account, the newest first.

    Raises:
        NotFoundError: There is no such account.
    """
    await _find_account(owner, accounts)
    return await keys.keys_of(owner)


async def revoke_api_key(key_id: str, *, owner: str | None, keys: ApiKeyStore) -> str:
    """Revoke an API key: no gateway takes it for longer than a token of a changed account.

    Args:
        key_id: The key's id, as it was sent.
        owner: Its account; None for whichever it is.
        keys: All keys.

    Returns:
        The name of its account.

    Raises:
        NotFoundError: There is no such key, or it belongs to another.
        UnavailableError: It may have been revoked; then a second attempt finds none.
    """
    try:
        parsed = UUID(key_id)
    except ValueError:
        raise NotFoundError("There is no API key of this id.") from None
    account = await keys.revoke(parsed, account=owner)
    if account is None:
        raise NotFoundError("There is no API key of this id.")
    return account


async def _find_account(name: str, accounts: AccountStore) -> Account:
    account = await accounts.find(name) if USER_NAME.fullmatch(name) else None
    if account is None:
        shown = f" named {name}" if USER_NAME.fullmatch(name) else " of this name"
        raise NotFoundError(f"There is no account{shown}.")
    return account


def _check_roles(account: Account, roles: Collection[Role]) -> None:
    """Return if a key of the account may have these roles.

    Raises:
        DeniedError: It may not.
    """
    if never := set(roles) - KEY_ROLES:
        raise DeniedError(f"No API key may have the role {_listed(never)}: log in for that.")
    if missing := set(roles) - account.roles:
        raise DeniedError(f"The account {account.name} does not have the role {_listed(missing)}.")


def _listed(roles: Collection[Role]) -> str:
    return ", ".join(sorted(roles))
