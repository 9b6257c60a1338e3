"""The models and languages that Soniox lists."""

from typing import Any

_LANGUAGES = """
    af:Afrikaans sq:Albanian ar:Arabic az:Azerbaijani eu:Basque be:Belarusian bn:Bengali bs:Bosnian
    bg:Bulgarian ca:Catalan zh:Chinese hr:Croatian cs:Czech da:Danish nl:Dutch en:English
    et:Estonian fi:Finnish fr:French gl:Galician de:German el:Greek gu:Gujarati he:Hebrew hi:Hindi
    hu:Hungarian id:Indonesian it:Italian ja:Japanese kn:Kannada kk:Kazakh ko:Korean lv:Latvian
    lt:Lithuanian mk:Macedonian ms:Malay ml:Malayalam mr:Marathi no:Norwegian fa:Persian pl:Polish
    pt:Portuguese pa:Punjabi ro:Romanian ru:Russian sr:Serbian sk:Slovak sl:Slovenian es:Spanish
    sw:Swahili sv:Swedish tl:Tagalog ta:Tamil te:Telugu th:Thai tr:Turkish uk:Ukrainian ur:Urdu
    vi:Vietnamese cy:Welsh
"""
LANGUAGES = dict(pair.split(":") for pair in _LANGUAGES.split())

# Model id to the id that it is an alias of.
ASYNC_MODELS: dict[str, str | None] = {"stt-async-v5": None, "stt-async-v4": "stt-async-v5"}
REAL_TIME_MODELS: dict[str, str | None] = {"stt-rt-v5": None, "stt-rt-v4": "stt-rt-v5"}


def listed_models() -> list[dict[str, Any]]:
    return [_model(name, alias, "async") for name, alias in ASYNC_MODELS.items()] + [
        _model(name, alias, "real_time") for name, alias in REAL_TIME_MODELS.items()
    ]


def _model(model_id: str, alias_of: str | None, mode: str) -> dict[str, Any]:
    real_time = mode == "real_time"
    return {
        "id": model_id,
        "aliased_model_id": alias_of,
        "name": f"Speech-to-Text {'Real-time' if real_time else 'Async'} {model_id.rsplit('-', 1)[1]}",
        "context_version": 2,
        "transcription_mode": mode,
        "languages": [{"code": code, "name": name} for code, name in LANGUAGES.items()],
        "supports_language_hints_strict": True,
        "supports_max_endpoint_delay": real_time,
        "supports_endpoint_sensitivity": real_time,
        "supports_endpoint_latency_adjustment": real_time,
        "endpoint_latency_adjustment_max_level": 3 if real_time else 0,
        "translation_targets": [],
        "two_way_translation_pairs": [],
        "one_way_translation": "all_languages",
        "two_way_translation": "all_languages",
    }
