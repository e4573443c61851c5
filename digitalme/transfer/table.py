"""A table of notes, for a terminal."""

from collections.abc import Iterable, Sequence

from digitalme.transfer.no_counterpart import Note


def rendered(notes: Iterable[Note]) -> str:
    """Return one line a note, in columns: the setting, what it becomes, its state and why."""
    rows = [("setting", "becomes", "state"), *(_row(note) for note in notes)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(_line(row, widths) for row in rows)


def _row(note: Note) -> tuple[str, str, str]:
    return note.setting, note.becomes, f"{note.state}: {note.why}" if note.why else note.state


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*padded, row[-1]])
