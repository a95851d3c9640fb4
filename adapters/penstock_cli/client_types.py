"""The classes of a typed client, by datamodel-code-generator: msgspec structs from the schemas of a document."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import click

_COMPONENTS: Final = "#/components/schemas/"
_DEFINITIONS: Final = "#/$defs/"
_FIELD: Final = "penstock_type_"
_NAMED: Final = {"properties", "$defs", "patternProperties", "dependentSchemas"}
_LITERAL: Final = {"const", "default", "enum", "examples"}
HOW_TO_INSTALL: Final = "pip install 'penstock[client]'"
LINE_LENGTH: Final = 120


class GeneratorMissingError(click.ClickException):
    """datamodel-code-generator is not installed; exit code 2."""

    exit_code = 2

    def __init__(self, missing: str) -> None:
        super().__init__(f"penstock client needs {missing}, which is not installed; run {HOW_TO_INSTALL}")


@dataclass(frozen=True)
class GeneratedSource:
    """The classes as source, and a type for each schema that was asked for.

    Attributes
    ----------
    imports:
        The names that the classes use, by module.
    classes:
        Their source.
    annotations:
        The type of each schema as it is written in the source.
    names:
        The names that the imports and the classes define.
    """

    imports: Mapping[str, AbstractSet[str]]
    classes: str
    annotations: Sequence[str]
    names: frozenset[str]


def generated_types(components: Mapping[str, Any], schemas: Sequence[tuple[str, Any]]) -> GeneratedSource:
    """Return the types of schemas, each with the name for its class if it is an object without one.

    Parameters
    ----------
    components:
        The schemas of the document, by name.
    schemas:
        The schemas that endpoints take and return, which refer to the components.

    Raises
    ------
    GeneratorMissingError
        If datamodel-code-generator is not installed.
    """
    definitions = {name: _prepared(schema) for name, schema in components.items()}
    properties: dict[str, Any] = {}
    for number, (name, schema) in enumerate(schemas):
        prepared = _prepared(schema)
        if "properties" in prepared:
            prepared = {"$ref": _DEFINITIONS + _defined(prepared, name, definitions)}
        properties[f"{_FIELD}{number}"] = prepared
    # Each schema is a field of one class, whose annotations are then read: the generator chooses names and imports.
    whole = {"title": "Types", "type": "object", "properties": properties, "required": list(properties)}
    return _parts(ast.parse(_source({**whole, "$defs": _used(whole, definitions)})))


def formatted(source: str) -> str:
    """Return a module with its lines wrapped.

    Raises
    ------
    GeneratorMissingError
        If black is not installed.
    """
    try:
        import black  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise GeneratorMissingError("black") from None
    return black.format_str(source, mode=black.Mode(line_length=LINE_LENGTH))


def _source(schema: Any) -> str:
    try:
        from datamodel_code_generator import generate  # noqa: PLC0415 - an extra
        from datamodel_code_generator.config import GenerateConfig  # noqa: PLC0415 - the same
        from datamodel_code_generator.enums import DataModelType, InputFileType  # noqa: PLC0415 - the same
        from datamodel_code_generator.format import DatetimeClassType, Formatter, PythonVersion  # noqa: PLC0415 - the same
        from datamodel_code_generator.parser import LiteralType  # noqa: PLC0415 - the same
    except ModuleNotFoundError:
        raise GeneratorMissingError("datamodel-code-generator") from None
    config = GenerateConfig(
        input_file_type=InputFileType.JsonSchema,
        output_model_type=DataModelType.MsgspecStruct,
        output_datetime_class=DatetimeClassType.Datetime,
        target_python_version=PythonVersion.PY_311,
        formatters=[Formatter.BUILTIN],
        apply_default_values_for_required_fields=True,
        disable_timestamp=True,
        enum_field_as_literal=LiteralType.All,
        field_constraints=True,
        keyword_only=True,
        use_annotated=True,
        use_schema_description=True,
        use_single_line_docstring=True,
        use_standard_collections=True,
        use_union_operator=True,
    )
    return str(generate(schema, config=config))


def _prepared(value: Any, *, has_names: bool = False) -> Any:
    """Return a schema as the generator takes it: a field with a default has it, and is not also unset."""
    if isinstance(value, list):
        return [_prepared(each) for each in value]
    if not isinstance(value, dict):
        return value
    if not has_names and isinstance(value.get("$ref"), str):
        return {**value, "$ref": value["$ref"].replace(_COMPONENTS, _DEFINITIONS)}
    found = {
        key: each if key in _LITERAL and not has_names else _prepared(each, has_names=key in _NAMED and not has_names)
        for key, each in value.items()
    }
    if "mapping" in found and not has_names:
        found["mapping"] = {key: each.replace(_COMPONENTS, _DEFINITIONS) for key, each in value["mapping"].items()}
    if found.get("additionalProperties") is False and not has_names:
        del found["additionalProperties"]  # the same class serves as an input and as an output
    if "prefixItems" in found and not has_names:
        found.pop("default", None)  # the generator would write a list for a tuple
    if isinstance(found.get("properties"), dict) and not has_names:
        with_default = [name for name, each in found["properties"].items() if "default" in each]
        found["required"] = list(dict.fromkeys([*found.get("required", ()), *with_default]))
    return found


def _used(schema: Any, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions that a schema refers to, and those that they refer to, in the order of their names."""
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for name in _references_in(waiting.pop()):
            if name not in found:
                found[name] = definitions[name]
                waiting.append(found[name])
    return dict(sorted(found.items()))


def _references_in(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _references_in(each)
    elif isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_DEFINITIONS):
            yield reference.removeprefix(_DEFINITIONS)
        for each in value.values():
            yield from _references_in(each)


def _defined(schema: Mapping[str, Any], name: str, definitions: dict[str, Any]) -> str:
    """Return the name of the definition that a schema is, or that it becomes: its own, or this one."""
    own = schema.get("title", name)
    if own in definitions and {**definitions[own], "title": own} == {**schema, "title": own}:
        return str(own)
    number, unique = 1, own if own not in definitions else name
    while unique in definitions:
        number += 1
        unique = f"{name}{number}"
    definitions[unique] = {**schema, "title": unique}
    return str(unique)


def _parts(tree: ast.Module) -> GeneratedSource:
    imported: dict[str, set[str]] = {}
    classes = []
    annotations: dict[str, str] = {}
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            imported.setdefault(node.module, set()).update(alias.name for alias in node.names)
        elif fields := dict(_types_in(node)):
            annotations = fields
        else:
            classes.append(ast.unparse(node))
            names |= set(_names_in(node))
    imported.pop("__future__", None)
    names |= set().union(*imported.values())
    ordered = [annotations[f"{_FIELD}{number}"] for number in range(len(annotations))]
    return GeneratedSource(imported, "\n\n\n".join(classes), ordered, frozenset(names))


def _types_in(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the fields of the class that has one for each schema."""
    for each in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.target.id.startswith(_FIELD):
            yield each.target.id, ast.unparse(each.annotation)


def _names_in(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    yield from (target.id for target in targets if isinstance(target, ast.Name))
