"""Columns of parquet files and of CSV files with a header as arrays, by pyarrow (the extra ``formats``)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rwmu.data.formats.recordings import Array
from rwmu.errors import DataError, import_extra

_BLOCK_ROWS = 65536


def arrow(module: str) -> Any:
    """Import ``pyarrow`` or a module of it, or say how to install it."""
    return import_extra(module, f"{module} is needed for such data; install it with: pip install 'rwmu[formats]'")


def read_columns(path: Path, wanted: Collection[str] | None = None) -> dict[str, Array]:
    """Return the columns of a parquet or CSV file as ``[R]`` or ``[R, X]``; of those wanted, the ones that are there.

    Raises:
        DataError: the file is damaged, or lists of a column differ in length.
    """
    kind = "csv" if path.suffix.lower() == ".csv" else "parquet"
    reader = arrow(f"pyarrow.{kind}")
    with _told(path):
        if kind == "csv":
            table = reader.read_csv(path)
        else:
            there = set(reader.read_schema(path).names)
            table = reader.read_table(path, columns=None if wanted is None else [name for name in wanted if name in there])
        return {name: _array(table.column(name)) for name in table.column_names if wanted is None or name in wanted}


def read_blocks(path: Path, wanted: Collection[str] | None = None) -> Iterator[dict[str, Array]]:
    """Yield the columns of a parquet file as :func:`read_columns` returns them, some ten thousand rows at a time."""
    reader = arrow("pyarrow.parquet")
    with _told(path), reader.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
        for batch in file.iter_batches(_BLOCK_ROWS, columns=names):
            yield {name: _array(batch.column(name)) for name in names}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell in one sentence what goes wrong while a file is read."""
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's own are ValueErrors
        raise DataError(
            f"The data file {path} cannot be read ({' '.join(str(error).split())}); give a whole copy of it."
        ) from error


def _array(column: Any) -> Array:
    kinds, rows = arrow("pyarrow").types, column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if not (kinds.is_list(rows.type) or kinds.is_large_list(rows.type) or kinds.is_fixed_size_list(rows.type)):
        return np.asarray(rows.to_numpy(zero_copy_only=False))
    values = rows.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values.reshape(len(rows), -1) if len(rows) else values.reshape(0, 0))


def table_of(columns: Mapping[str, Any]) -> Any:
    """Return a table of arrays ``[R]`` or ``[R, X]``, or of lists."""
    library = arrow("pyarrow")

    def column(values: Any) -> Any:
        if not isinstance(values, np.ndarray) or values.ndim == 1:
            return library.array(values)
        return library.FixedSizeListArray.from_arrays(library.array(values.reshape(-1)), values.shape[1])

    return library.table({name: column(values) for name, values in columns.items()})
