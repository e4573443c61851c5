"""What a backup says of itself is read strictly."""

import pytest

from digitalme.transfer import backup_manifest


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "product": 3}', "nonsense"],
)
def test_a_manifest_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(backup_manifest.BadBackup):
        backup_manifest.from_json(text.encode())
