"""Decoding: from a request body to values of the annotated types, or to an error that names what does not fit.

msgspec decodes and validates in one pass; pydantic models validate themselves. Nothing is decided per request: each
endpoint's reader is built once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect as types

from penstock.codec import leniency, pydantic_types
from penstock.codec.annotation_fixes import fix_for
from penstock.codec.custom_types import is_known, read_custom
from penstock.codec.default_values import default_field, require_fitting
from penstock.codec.pydantic_types import is_adapted, is_pydantic
from penstock.codec.signature import Parameter
from penstock.codec.uploads import Upload
from penstock.errors import DeclarationError, HandlerError, InvalidRequest, MalformedRequest, PenstockError

Reader = Callable[[bytes], Any]

# A body with a million wrong items, or with a field name of a megabyte, must not cause a response of that size.
MAX_ERRORS = 50
MAX_NAME_CHARACTERS = 200

_read_anything: Callable[[bytes], Any] = msgspec.json.Decoder().decode
_skim: Callable[[bytes], msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw).decode


# ---- types


def is_struct(annotation: Any) -> bool:
    """Return whether a value of this type is a JSON object with known fields, and so can be a whole body."""
    return is_pydantic(annotation) or _is_info(annotation, _STRUCTS)


def is_bytes(annotation: Any) -> bool:
    """Return whether this is ``bytes``, with or without ``Annotated[..., Meta(...)]``."""
    return _is_info(annotation, types.BytesType)


def has_uploads(annotation: Any) -> bool:
    """Return whether there is an ``Upload`` anywhere inside this type, which can only come in a form."""
    return not is_adapted(annotation) and Upload in _custom_types(_type_info(annotation, ""), set())


def _is_info(annotation: Any, kind: Any) -> bool:
    try:
        return isinstance(_type_info(annotation, ""), kind)
    except DeclarationError:  # a union of pydantic models; other errors are reported when the reader is built
        return False


def require_readable(annotation: Any, *, owner: str) -> None:
    """Check that JSON can be decoded into this type.

    Raises
    ------
    DeclarationError
        If not; names the type and the fix.
    """
    for custom in _custom_types(_type_info(annotation, owner), set()):
        if not is_known(custom):
            raise DeclarationError(f"{owner}: {class_name(custom)} cannot be decoded from JSON; {fix_for(custom)}")


_STRUCTS = (types.StructType, types.DataclassType, types.TypedDictType)


def _type_info(annotation: Any, owner: str) -> types.Type:
    try:
        info = types.type_info(annotation)
    except Exception as error:  # msgspec's TypeError, or anything that resolving the fields of a user's class raises
        raise DeclarationError(
            f"{owner}: the annotation {annotation!r} cannot be used ({error}); use a type that JSON can be decoded into"
        ) from error
    return info.type if isinstance(info, types.Metadata) else info


def _custom_types(info: Any, seen: set[int]) -> Iterator[type]:
    """Yield every class inside a type that msgspec does not support itself. Types may be recursive, hence ``seen``."""
    if isinstance(info, tuple):
        for item in info:
            yield from _custom_types(item, seen)
    elif isinstance(info, types.CustomType):
        yield info.cls
    elif isinstance(info, types.Type | types.Field) and id(info) not in seen:
        seen.add(id(info))
        for name in info.__struct_fields__:
            yield from _custom_types(getattr(info, name), seen)


def class_name(cls: type) -> str:
    """Return the name of a class for an error message: built-ins without a module, all others with it."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


# ---- readers


def fields_type(name: str, parameters: Sequence[Parameter], *, owner: str) -> type[msgspec.Struct]:
    """Return a struct with one field per parameter, in order: a body whose fields are the handler's arguments.

    Only the JSON names are those of the parameters. The Python names are generated, since a struct would not treat
    ``__post_init__`` or ``__private`` as a field.
    """
    fields = [
        (field_name(place), _readable(parameter, owner), default_field(parameter))
        for place, parameter in enumerate(parameters)
    ]
    rename = {field_name(place): parameter.name for place, parameter in enumerate(parameters)}
    return msgspec.defstruct(name, fields, rename=rename, kw_only=True, forbid_unknown_fields=True)


def field_name(place: int) -> str:
    """Return the Python name of a field of ``fields_type``."""
    return f"field_{place}"


def _readable(parameter: Parameter, owner: str) -> Any:
    """Return the parameter's type as msgspec reads it, after checking the type and the default."""
    owner = f"{owner}, parameter `{parameter.name}`"
    annotation = pydantic_types.adapted(parameter.annotation, owner=owner)
    require_readable(annotation, owner=owner)
    require_fitting(annotation, parameter.default, owner=owner)
    return annotation


def bytes_reader(annotation: Any, *, owner: str) -> Reader:
    """Return a reader of raw bodies, which enforces the limits of ``Annotated[bytes, Meta(...)]``."""
    validated = pydantic_types.adapted(annotation, owner=owner)
    if is_adapted(validated):
        return lambda body: validated.adapter.validate_python(bytes(body))
    info = _type_info(annotation, owner)
    if isinstance(info, types.BytesType) and (info.min_length is not None or info.max_length is not None):
        return lambda body: msgspec.convert(bytes(body), annotation)
    return bytes


def json_reader(annotation: Any, *, owner: str) -> Reader:
    """Return a reader of JSON bodies of one type, which refuses unknown fields of a struct at the top level.

    For a pydantic model, its own ``extra`` setting decides. Structs inside structs follow their own settings, too.

    Raises
    ------
    DeclarationError
        If JSON cannot be decoded into the type.
    """
    if is_pydantic(annotation) or is_adapted(annotation):
        return _pydantic_reader(annotation, owner)
    require_readable(annotation, owner=owner)
    info = _type_info(annotation, owner)
    read: Reader = msgspec.json.Decoder(annotation, dec_hook=read_custom).decode
    return leniency.lenient(_strict(read, info), info)


def converted(value: Any, annotation: Any) -> Any:
    """Return a value that a dialect has decoded as this type; errors as for ``Codec.decode``."""
    try:
        return msgspec.convert(value, annotation, dec_hook=read_custom)
    except Exception as error:
        raise explain(error, b"", is_json=False) from error


def result_reader(annotation: Any) -> Reader | None:
    """Return a reader of results of this type, or None if they cannot be read back.

    Constraints that only pydantic understands are ignored: msgspec writes results, whatever they are.

    Raises
    ------
    DeclarationError
        If msgspec cannot use the annotation.
    """
    info = _type_info(annotation, "the return annotation")
    if any(True for _ in _custom_types(info, set())):
        return None
    return leniency.lenient(msgspec.json.Decoder(annotation).decode, info)


def _pydantic_reader(model: Any, owner: str) -> Reader:
    if is_pydantic(model):
        try:
            model.model_rebuild()
        except Exception as error:  # names that are not defined yet; pydantic's message says which
            raise DeclarationError(f"{owner}: the model {model.__name__} cannot be used ({error})") from error

    names = pydantic_types.names_of(model)
    check = _skim if names is None else _names_reader(names)

    def read(body: bytes) -> Any:
        check(body)  # pydantic's parser accepts NaN and Infinity, which are not JSON
        return pydantic_types.validate_json(model, body)

    return read


def _strict(read: Reader, info: types.Type) -> Reader:
    """Make a reader refuse unknown fields that the type itself would ignore.

    A second struct with the same names, whose values stay undecoded, is decoded first, for its errors. A strict twin
    of the user's class would be faster, but the handler would get instances of a class that is not the user's.
    """
    if not isinstance(info, _STRUCTS) or getattr(info, "array_like", False):
        return read
    if getattr(info, "forbid_unknown_fields", False):
        return read
    names = [field.encode_name for field in info.fields]
    if isinstance(info, types.StructType) and info.tag_field is not None:
        names.append(info.tag_field)
    check = _names_reader(names)

    def read_strictly(body: bytes) -> Any:
        check(body)
        return read(body)

    return read_strictly


def _names_reader(names: list[str]) -> Reader:
    fields = [(f"field_{place}", msgspec.Raw, msgspec.Raw()) for place in range(len(names))]
    rename = {f"field_{place}": name for place, name in enumerate(names)}
    return msgspec.json.Decoder(msgspec.defstruct("Names", fields, rename=rename, forbid_unknown_fields=True)).decode


# ---- errors


def explain(error: Exception, body: bytes, *, is_json: bool) -> PenstockError:
    """Return the error to report for an exception of a reader.

    Returns
    -------
    ``MalformedRequest`` if the body cannot be read at all, ``InvalidRequest`` if it does not fit, and ``HandlerError``
    for anything else, raised by the code of the user's own types.
    """
    if isinstance(error, msgspec.ValidationError):
        # msgspec stops at the first misfit; the rest may still not be JSON, which is the more serious error.
        return (_syntax_error(body) if is_json else None) or _misfit(error)
    if isinstance(error, (msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        return _unreadable(error, body)
    if _is_pydantic_error(error):
        return _pydantic_misfit(error, "$")
    return HandlerError(
        f"the type of the body raised {type(error).__name__} while the body was decoded: {error}",
        exception_type=class_name(type(error)),
    )


def _syntax_error(body: bytes) -> MalformedRequest | None:
    try:
        _read_anything(body)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _unreadable(error, body)
    return None


def _unreadable(error: Exception, body: bytes) -> MalformedRequest:
    if not body:
        return MalformedRequest("the body is empty; send JSON")
    if isinstance(error, RecursionError):
        return MalformedRequest("the body is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return MalformedRequest("the body is not UTF-8")
    return MalformedRequest(f"the body is not JSON: {error}")


_AT = re.compile(r"(?P<reason>.*?)(?: - at `(?P<path>\$.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<fault>contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_FAULTS = {"contains unknown": "unknown field", "missing required": "required but missing"}


def _misfit(error: msgspec.ValidationError) -> InvalidRequest:
    """Parse msgspec's message: ``Expected `int`, got `str` - at `$.field```, or one of two about a field's presence."""
    match = _AT.fullmatch(str(error))
    assert match is not None  # the pattern matches every string
    path, reason = match["path"] or "$", match["reason"]
    if error.__cause__ is not None and _is_pydantic_error(error.__cause__):
        return _pydantic_misfit(error.__cause__, path)
    field = _FIELD.fullmatch(reason)
    if field is not None:
        path, reason = f"{path}.{field['name'][:MAX_NAME_CHARACTERS]}", _FAULTS[field["fault"]]
    return invalid([(path, reason)])


def _is_pydantic_error(error: BaseException) -> bool:
    pydantic = sys.modules.get("pydantic")
    kind = getattr(pydantic, "ValidationError", None)
    return kind is not None and isinstance(error, kind)


def _pydantic_misfit(error: Any, root: str) -> InvalidRequest:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return MalformedRequest(f"the body is not JSON: {faults[0]['msg']}")
    return invalid([(root + _path_of(fault["loc"]), fault["msg"]) for fault in faults[:MAX_ERRORS]])


def _path_of(location: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:MAX_NAME_CHARACTERS]}" for part in location)


def invalid(faults: list[tuple[str, str]]) -> InvalidRequest:
    """Return the error for one or more faults, each with its path and reason."""
    path, reason = faults[0]
    top = re.match(r"\$\.([^.\[]+)", path)
    errors = [{"path": path, "reason": reason} for path, reason in faults]
    return InvalidRequest(f"{path}: {reason}", errors=errors, param=top[1] if top else None)
