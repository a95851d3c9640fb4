"""Types that pydantic validates: its models, and every annotation with constraints that only pydantic understands.

pydantic is never imported: without it in the user's program there can be no such type. msgspec ignores metadata that is
not its own, so without this module ``Annotated[float, Field(ge=0)]`` would be read as a plain ``float``.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from penstock.codec.signature import NO_DEFAULT, Parameter
from penstock.errors import DeclarationError

_OWNERS = frozenset({"pydantic", "pydantic_core", "annotated_types"})


def is_pydantic(annotation: Any) -> bool:
    """Return whether this is a pydantic model class."""
    base = getattr(_pydantic(), "BaseModel", None)
    return base is not None and isinstance(annotation, type) and issubclass(annotation, base)


def _pydantic() -> Any:
    return sys.modules.get("pydantic")


def _is_pydantic_dataclass(annotation: type) -> bool:
    return dataclasses.is_dataclass(annotation) and "__pydantic_validator__" in vars(annotation)


def _is_typed_dict(annotation: Any) -> bool:
    """Return whether this is a TypedDict, be it of ``typing`` or ``typing_extensions``, which pydantic prefers."""
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")


# ---- adapted annotations


class _AnyInstance(type):
    """The type of a stand-in: pydantic has checked the value, and msgspec need not check its class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return True


class Adapted(metaclass=_AnyInstance):
    """A stand-in, as msgspec sees it, for an annotation that pydantic validates. Each has a subclass of its own."""

    adapter: typing.ClassVar[Any]
    """pydantic's ``TypeAdapter`` of the annotation."""
    annotation: typing.ClassVar[Any]


def adapted(annotation: Any, *, owner: str) -> Any:
    """Return the annotation, or a subclass of ``Adapted`` in its place if anything in it needs pydantic.

    That is metadata and classes of pydantic's, or a union of models.

    Raises
    ------
    DeclarationError
        If its constraints could not be enforced: pydantic is not imported, or cannot read the rest of the annotation.
    """
    parts = survey(annotation)
    if not parts.foreign and (not parts.models or parts.native or _msgspec_supports(annotation)):
        return annotation
    named = (parts.foreign or parts.models)[0]
    if _pydantic() is None:
        raise DeclarationError(
            f"{owner}: {named!r} would not be enforced, because only pydantic understands it and the app does not "
            "import pydantic; import it, or write msgspec.Meta(ge=..., max_length=...)"
        )
    if parts.native:
        raise DeclarationError(
            f"{owner}: pydantic understands {named!r} and msgspec {parts.native[0]!r}, so one of them would not be "
            "enforced; use one kind throughout the parameter"
        )
    try:
        adapter = _pydantic().TypeAdapter(annotation)
    except Exception as error:  # pydantic's own errors, or anything that resolving the annotation raises
        raise DeclarationError(f"{owner}: pydantic cannot use the annotation {annotation!r} ({error})") from error
    return type("Adapted", (Adapted,), {"adapter": adapter, "annotation": annotation})


def _msgspec_supports(annotation: Any) -> bool:
    """Return whether msgspec accepts an annotation with models: in a union, it accepts only one, with None."""
    try:
        msgspec.inspect.type_info(annotation)
    except Exception:
        return False
    return True


def names_of(cls: Any) -> list[str] | None:
    """Return the names that a body may have, or None if the type is pydantic's and decides that by its own ``extra``.

    pydantic would ignore unknown fields of a plain dataclass or TypedDict, and has no way to configure that.
    """
    if not is_adapted(cls) or hasattr(cls.annotation, "__pydantic_config__"):
        return None
    if not (dataclasses.is_dataclass(cls.annotation) or _is_typed_dict(cls.annotation)):
        return None
    schema = schema_of(cls, mode="validation")
    if "$ref" in schema:  # the type is recursive
        schema = schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return list(schema["properties"])


def is_adapted(annotation: Any) -> bool:
    """Return whether this is a stand-in that ``adapted`` has returned."""
    return isinstance(annotation, _AnyInstance)


def validate(cls: Any, value: Any) -> Any:
    """Return a decoded value as pydantic reads it. ``cls`` is a model or a stand-in. This is msgspec's ``dec_hook``."""
    if is_adapted(cls):
        # From JSON again: pydantic's rules for JSON differ, for instance a strict datetime is a str there.
        return cls.adapter.validate_json(msgspec.json.encode(value))
    return cls.model_validate(value)


def validate_json(cls: Any, body: bytes) -> Any:
    """Return a whole body as pydantic reads it. ``cls`` is a model or a stand-in."""
    return cls.adapter.validate_json(body) if is_adapted(cls) else cls.model_validate_json(body)


def survey(annotation: Any) -> _Survey:
    """Return the metadata and classes inside an annotation."""
    return _Survey(annotation)


class _Survey:
    """The metadata and classes inside an annotation, at whatever depth.

    Attributes
    ----------
    foreign:
        Metadata and classes that only pydantic understands.
    native:
        Metadata and classes that only msgspec understands.
    models:
        pydantic's models, without those inside of them.
    records:
        All other classes with fields: structs, dataclasses, TypedDicts, attrs classes.
    """

    def __init__(self, annotation: Any) -> None:
        self.foreign: list[Any] = []
        self.native: list[Any] = []
        self.models: list[Any] = []
        self.records: list[Any] = []
        self._seen: set[int] = set()
        self._visit(annotation)

    def _visit(self, annotation: Any) -> None:
        if id(annotation) in self._seen:
            return
        self._seen.add(id(annotation))
        for item in getattr(annotation, "__metadata__", ()):
            if isinstance(item, msgspec.Meta):
                self.native.append(item)
            elif _is_foreign(item):
                self.foreign.append(item)
        if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
            self._visit_class(annotation)
        for part in _parts(annotation):
            self._visit(part)

    def _visit_class(self, cls: type) -> None:
        if issubclass(cls, msgspec.Struct):
            self.native.append(cls)
        elif _is_pydantic_dataclass(cls) or (hasattr(cls, "__get_pydantic_core_schema__") and not is_pydantic(cls)):
            self.foreign.append(cls)
        if is_pydantic(cls):  # pydantic knows the fields of its models
            self.models.append(cls)
            return
        for _, annotation, default in fields_of(cls):
            if _is_field_info(default):
                self.foreign.append(default)
            self._visit(annotation)
        if _is_record(cls):
            self.records.append(cls)


def _is_foreign(item: Any) -> bool:
    """Return whether metadata is a constraint for pydantic. Other libraries' metadata, and text, is not Penstock's."""
    module = type(item).__module__.partition(".")[0]
    return module in _OWNERS or hasattr(item, "__get_pydantic_core_schema__")


def _parts(annotation: Any) -> Iterator[Any]:
    yield from typing.get_args(annotation)
    # __origin__ is for Annotated and generics, __value__ for `type` aliases, __supertype__ for NewType.
    for name in ("__origin__", "__value__", "__supertype__"):
        inner = getattr(annotation, name, None)
        if inner is not None:
            yield inner


def _is_record(cls: type) -> bool:
    is_struct = hasattr(cls, "__struct_fields__") or hasattr(cls, "__attrs_attrs__")
    return is_struct or dataclasses.is_dataclass(cls) or _is_typed_dict(cls)


def fields_of(cls: type) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, annotation and default (or ``NO_DEFAULT``) of each field of a struct, dataclass or TypedDict."""
    if not _is_record(cls) or hasattr(cls, "__attrs_attrs__"):
        return
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # msgspec meets the same error, and reports it with the name of the parameter
        return
    if dataclasses.is_dataclass(cls):
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    elif hasattr(cls, "__struct_fields__"):
        defaults = {field.name: field.default for field in msgspec.structs.fields(cls)}
    else:
        defaults = dict.fromkeys(hints, NO_DEFAULT)
    for name, default in defaults.items():
        is_missing = default is dataclasses.MISSING or default is msgspec.NODEFAULT
        yield name, hints.get(name, Any), NO_DEFAULT if is_missing else default


# ---- `= Field(...)` as the default of a parameter


def _is_field_info(value: Any) -> bool:
    kind = getattr(sys.modules.get("pydantic.fields"), "FieldInfo", None)
    return kind is not None and isinstance(value, kind)


def with_field_info(parameter: Parameter, *, owner: str) -> Parameter:
    """Return the parameter that ``x: float = Field(0.5, ge=0)`` means: the constraints are the annotation's.

    Raises
    ------
    DeclarationError
        If the field asks for something that a parameter cannot do.
    """
    annotation = parameter.annotation
    if _is_field_info(parameter.default):
        info = parameter.default
        annotation = Annotated[annotation, info]
    else:
        info = next(filter(_is_field_info, getattr(annotation, "__metadata__", ())), None)
        if info is None:
            return parameter
    for name in ("alias", "validation_alias"):
        if getattr(info, name) is not None:
            raise DeclarationError(
                f"{owner}: Field({name}=...) cannot rename a parameter; take a pydantic model as the whole body"
            )
    if not _is_field_info(parameter.default) and not parameter.required:
        return parameter
    default, factory = (NO_DEFAULT, None) if info.is_required() else (info.default, info.default_factory)
    if factory is not None:
        default = NO_DEFAULT
        _require_no_arguments(factory, owner)
    return dataclasses.replace(parameter, annotation=annotation, default=default, default_factory=factory)


def _require_no_arguments(factory: Callable[..., Any], owner: str) -> None:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise DeclarationError(
            f"{owner}: default_factory={factory!r} takes arguments; use one without, or compute it in the handler"
        ) from error
    except ValueError:  # written in C, without a signature, as `list` and `dict` are
        return


# ---- schemas


def schema_of(cls: Any, *, mode: str, ref_template: str = "#/$defs/{model}") -> dict[str, Any]:
    """Return the JSON Schema of a model or a stand-in: by alias as it is read, by name as it is written."""
    describe = cls.adapter.json_schema if is_adapted(cls) else cls.model_json_schema
    by_alias = mode == "validation" or is_written_by_alias(cls)
    schema: dict[str, Any] = describe(mode=mode, by_alias=by_alias, ref_template=ref_template)
    return schema


def is_written_by_alias(cls: Any) -> bool:
    """Return whether the configuration of a model asks for aliases in what is written."""
    return bool(getattr(cls, "model_config", {}).get("serialize_by_alias"))
