"""A short talk of three people, made up, with a translation: what the pictures of the transcript show."""

import random
from typing import Any

from tests.support.transcripts import document, spoken

Token = dict[str, Any]

TALK = (
    (
        "1",
        "Good morning, everyone. Let us begin with the library on Mill Street.",
        "Buenos días a todos. Empecemos con la biblioteca de Mill Street.",
    ),
    (
        "2",
        "The roof is finished, and the reading room has its windows again.",
        "El techo está terminado y la sala de lectura vuelve a tener ventanas.",
    ),
    ("1", "How much of the budget is left?", "¿Cuánto queda del presupuesto?"),
    (
        "2",
        "About forty thousand, if the heating costs what we were promised.",
        "Unos cuarenta mil, si la calefacción cuesta lo prometido.",
    ),
    (
        "3",
        "I would not count on that. The last offer was a third higher.",
        "Yo no contaría con eso. La última oferta era un tercio más alta.",
    ),
    (
        "1",
        "Then we ask for a second one before Friday. Who takes it?",
        "Entonces pedimos una segunda antes del viernes. ¿Quién se encarga?",
    ),
    (
        "3",
        "I will. And the evening courses, can they start in March?",
        "Yo. ¿Y los cursos nocturnos, pueden empezar en marzo?",
    ),
    (
        "2",
        "The rooms are ready. We still need two teachers for the language courses.",
        "Las aulas están listas. Nos faltan dos profesores para los cursos de idiomas.",
    ),
    (
        "1",
        "Good. Put it on the list for next week, and thank you all.",
        "Bien. Ponedlo en la lista para la próxima semana, y gracias a todos.",
    ),
)


def conversation(dice: random.Random) -> dict[str, Any]:
    """As Soniox would answer: each sentence, then its translation."""
    tokens: list[Token] = []
    at_ms = 600
    for speaker, english, spanish in TALK * 3:
        words = _words(english, at_ms, dice, speaker=speaker, language="en", translation_status="original")
        tokens += words
        told = {"speaker": speaker, "language": "es", "translation_status": "translation", "end_ms": at_ms}
        tokens += [{**spoken(f" {word}", at_ms), **told} for word in spanish.split()]
        at_ms = words[-1]["end_ms"] + dice.randint(300, 1_400)
    return document(tokens)


def _words(sentence: str, at_ms: int, dice: random.Random, **more: Any) -> list[Token]:
    tokens = []
    for word in sentence.split():
        took_ms = 90 + 45 * len(word)
        sure = dice.uniform(0.35, 0.6) if dice.random() < 0.06 else dice.uniform(0.86, 0.999)
        tokens.append({**spoken(f" {word}", at_ms, confidence=round(sure, 3), **more), "end_ms": at_ms + took_ms})
        at_ms += took_ms + dice.randint(10, 90)
    return tokens
