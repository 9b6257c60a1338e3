"""The parts of Soniox's request: languages, translation, context. Pure."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

LONGEST_CONTEXT = 10_000  # characters; Soniox counts 8,000 tokens
BRANCHES = frozenset({"one_way", "two_way", "plain", "structured"})  # of unions; no part of a location

_CODES = (
    "af sq ar az eu be bn bs bg ca zh hr cs da nl en et fi fr gl de el gu he hi hu id it ja kn kk ko lv "
    "lt mk ms ml mr no fa pl pt pa ro ru sr sk sl es sw sv tl ta te th tr uk ur vi cy"
)
LANGUAGES = frozenset(_CODES.split())


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"`{code[:10]}` is not the code of a language that Soniox transcribes")
    return code


Language = Annotated[
    str, AfterValidator(_known_language), WithJsonSchema({"type": "string", "enum": sorted(LANGUAGES)})
]


class Lenient(BaseModel):
    """Types are strict, as they are at Soniox; fields we do not know are kept."""

    model_config = ConfigDict(extra="allow", strict=True)


class OneWay(Lenient):
    """All speech into one language."""

    type: Literal["one_way"]
    target_language: Language


class TwoWay(Lenient):
    """Two languages into each other."""

    type: Literal["two_way"]
    language_a: Language
    language_b: Language

    @model_validator(mode="after")
    def _languages_differ(self) -> "TwoWay":
        if self.language_a == self.language_b:
            raise ValueError("`language_a` and `language_b` must differ")
        return self


class ContextItem(Lenient):
    """Something Soniox should know of the recording, such as its domain."""

    key: str
    value: str


class ContextTranslation(Lenient):
    """How one term is to be translated."""

    source: str
    target: str


class Context(Lenient):
    """What helps to recognise and translate."""

    general: list[ContextItem] | None = None
    text: str | None = None
    terms: list[str] | None = None
    translation_terms: list[ContextTranslation] | None = None


def _kind_of_context(value: Any) -> str:
    return "plain" if isinstance(value, str) else "structured"


PlainContext = Annotated[str, Field(max_length=LONGEST_CONTEXT)]
AnyContext = Annotated[
    Annotated[Context, Tag("structured")] | Annotated[PlainContext, Tag("plain")], Discriminator(_kind_of_context)
]

Translation = Annotated[OneWay | TwoWay, Field(discriminator="type")]
