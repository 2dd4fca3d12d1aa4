"""Sections whose validators are built at the first value of them.

To build those of the whole configuration takes as long as the rest of ``validate``, and most files
have a few sections. Defaults are made without one, by ``Section.of_defaults``.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_SECTION = "section"


class _BuiltAtUse:
    """Validates a section by its own validator."""

    def __get_pydantic_core_schema__(
        self, section: type[BaseModel], _: GetCoreSchemaHandler
    ) -> CoreSchema:
        # Errors of the section keep their places, below that of the section.
        return core_schema.no_info_plain_validator_function(
            section.model_validate, metadata={_SECTION: section}
        )


SectionT = TypeVar("SectionT", bound=BaseModel)
BuiltAtUse = Annotated[SectionT, _BuiltAtUse()]


class SectionsSchema(GenerateJsonSchema):
    """Generates the JSON Schema of sections that are built at use."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave a section the title of its class alone."""
        section = schema["type"] == "function-plain"
        return not section and super().field_title_should_be_set(schema)

    def function_plain_schema(
        self, schema: core_schema.PlainValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """Generate the schema of a section."""
        section: type[BaseModel] = schema["metadata"][_SECTION]
        section.model_rebuild()
        return self.generate_inner(section.__pydantic_core_schema__)
