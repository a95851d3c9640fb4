"""The command ``penstock keys``, which creates, lists and revokes API keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from penstock.hooks import near_miss
from penstock_auth.api_keys import check_name, check_scope, digest_of, new_key
from penstock_auth.keyfile import KeyRecord, add_record, free_id, records_in, revoke_record

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)


class Expiry(click.ParamType[datetime]):
    """An instant, given as a duration from now, such as 90d, or as a date, such as 2027-01-31."""

    name = "expiry"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the instant; click reports a value that is not one."""
        now = _now()
        try:
            match = _DURATION.fullmatch(value)
            moment = now + _seconds(*match.groups()) if match else _instant(value)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a duration, such as 90d or 12h, nor a date, such as 2027-01-31.", param, ctx
            )
        if moment <= now:
            self.fail(f"{value!r} is not in the future: the key would never be valid.", param, ctx)
        return moment


def _seconds(count: str, unit: str) -> timedelta:
    return timedelta(seconds=int(count) * _UNIT_SECONDS[unit])


def _instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _checked(check: Any) -> Any:
    """Return a callback for click that rejects the values that ``check`` rejects."""

    def callback(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        try:
            for item in (value,) if isinstance(value, str) else value:
                check(item)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from None
        return value

    return callback


_file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="PENSTOCK_AUTH_KEYS_FILE",
    show_envvar=True,
    required=True,
    help="The key file, as in the setting keys_file.",
)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    A running server applies every change within a second or two.
    """


@keys.command()
@click.argument("principal", callback=_checked(check_name))
@click.option(
    "--scope", "scopes", multiple=True, callback=_checked(check_scope), help="A scope of the key; may be repeated."
)
@click.option("--expires", type=Expiry(), help="When the key expires: 90d, 12h, or 2027-01-31. Default: never.")
@_file_option
def new(principal: str, scopes: Sequence[str], expires: datetime | None, file: Path) -> None:
    """Create a key for PRINCIPAL and print it once; the file keeps only its digest."""
    key = new_key()
    path = _real(file)
    try:
        taken = [record.id for record in _read(path)] if path.exists() else []
        record = KeyRecord(
            id=free_id(taken),
            principal=principal,
            scopes=tuple(dict.fromkeys(scopes)),
            created=_now(),
            expires=expires,
            sha256=digest_of(key).hex(),
        )
        add_record(path, record)
    except (OSError, ValueError) as error:
        raise _failure(file, error) from None
    click.echo(key)
    summary = f"Created key {record.id} of {principal}, {_until(expires)}."
    click.echo(f"{summary} It is shown only once: {file} holds its digest.", err=True)


@keys.command("list")
@_file_option
def list_(file: Path) -> None:
    """List the keys, with their principals and expiry times. Neither keys nor digests are shown."""
    try:
        records = _read(_real(file))
    except (OSError, ValueError) as error:
        raise _failure(file, error) from None
    rows = [("ID", "PRINCIPAL", "SCOPES", "CREATED", "EXPIRES", "STATE"), *(_row(record) for record in records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command()
@click.argument("id")
@_file_option
def revoke(id: str, file: Path) -> None:
    """Revoke the key ID, as shown by `penstock keys list`."""
    path = _real(file)
    try:
        record = revoke_record(path, id, _now())
    except KeyError:
        raise click.ClickException(f"{file} has no key {id!r}; {_near(id, path)}") from None
    except (OSError, ValueError) as error:
        raise _failure(file, error) from None
    click.echo(f"Key {record.id} of {record.principal} is revoked.", err=True)


def _real(file: Path) -> Path:
    """Return the path with symbolic links resolved: writing replaces the file, and must not replace a link to it."""
    return file.resolve()


def _read(path: Path) -> list[KeyRecord]:
    return records_in(path.read_bytes())


def _failure(file: Path, error: Exception) -> click.ClickException:
    return click.ClickException(f"{file}: {getattr(error, 'strerror', None) or error}")


def _near(id: str, path: Path) -> str:
    return near_miss(id, [record.id for record in _read(path)])


def _row(record: KeyRecord) -> tuple[str, ...]:
    created, expires = (_shown(moment) for moment in (record.created, record.expires))
    return record.id, record.principal, " ".join(record.scopes) or "-", created, expires, record.state(_now())


def _shown(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def _until(expires: datetime | None) -> str:
    return "which never expires" if expires is None else f"valid until {_shown(expires)}"
