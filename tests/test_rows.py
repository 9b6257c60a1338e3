"""Rows built without their model are what the model would have made."""

import pytest
from sqlmodel import SQLModel

from service import tables
from service.store.rows import new, values_of

MODELS = [
    model
    for name in tables.__all__
    if isinstance(model := getattr(tables, name), type) and issubclass(model, SQLModel) and model is not tables.Due
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_light_row_has_the_values_of_its_model(model: type[SQLModel]) -> None:
    required = {name: name for name, info in model.model_fields.items() if info.is_required()}
    assert values_of(new(model, **required)) == values_of(model(**required))


def test_what_is_given_counts_and_lists_are_nobody_elses() -> None:
    first, second = (new(tables.Transcription, id=name, filename="a", owner="b", model="c") for name in "xy")
    first.past_soniox_ids.append("z")
    assert (second.past_soniox_ids, first.id, second.attempt) == ([], "x", 1)
    assert new(tables.Removal, id="r", transcription_id="t", created_at_ms=1, unsettled=True).unsettled
