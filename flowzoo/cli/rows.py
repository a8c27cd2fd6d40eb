"""`Request`: reads DATA as rows for a flow, and as contexts (columns or labels) for a conditional flow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flowzoo.cli.common import columns_of, parse_columns

if TYPE_CHECKING:
    import tensorflow as tf

    from flowzoo.data import Source
    from flowzoo.flow import Flow


@dataclass(frozen=True)
class Request:
    """The rows that a user requests.

    Attributes:
        data: Name of a data set, a file or a glob.
        split: Split of a data set, or of a file ("all" for all its rows).
        columns: Columns of a file that form the row.
        context: Columns of a file that form the context.
        data_dir: Data directory of TensorFlow Datasets.
        download: Whether missing data may be downloaded.
    """

    data: str
    split: str
    columns: Sequence[str | int] | None = None
    context: list[str] | None = None
    data_dir: Path | None = None
    download: bool = True

    def check(self) -> None:
        """Checks for unknown names and missing files without TensorFlow.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If there is no such data set.
        """
        from flowzoo.data import dataset_info, files

        if is_file(self.data):
            files.expand(self.data)
        else:
            dataset_info(self.data)
            if self.columns is not None or self.context is not None:
                raise ValueError(f"Columns can be chosen only for files; {self.data!r} is a data set.")

    def dataset(self, flow: Flow, batch_size: int, missing: Any = "error") -> tf.data.Dataset:
        """Batches of x, or of (x, context), in a fixed order."""
        from flowzoo.data import load

        dataset = load(
            self.data,
            self.split,
            batch_size=batch_size,
            shuffle=False,
            data_dir=self.data_dir,
            download=self.download,
            columns=self._all_columns(flow),
            labels=self._wants_labels(flow),
            missing=missing,
        )
        spec = dataset.element_spec
        self._check_width(flow, spec[0].shape[1:] if isinstance(spec, tuple) else spec.shape[1:])
        if flow.context_shape is None:
            return dataset
        if self._wants_labels(flow):
            if is_file(self.data):
                for _ in self._checked_chunks(flow):
                    pass  # Check all labels now: in the graph, tf.one_hot turns unknown ones into zeros.
            return dataset.map(lambda x, labels: self._split(flow, x, labels))
        return dataset.map(lambda x: self._split(flow, x, None))

    def chunks(self, flow: Flow) -> Iterator[tuple[np.ndarray, Any]]:
        """(x, context or None) in the order of the input, including rows with missing values."""
        for x, labels in self._checked_chunks(flow):
            yield self._split(flow, x, labels)

    def _checked_chunks(self, flow: Flow) -> Iterator[tuple[np.ndarray, Any]]:
        """(x, labels or None), after a check of the width of x and of the range of the labels."""
        source = self._source(flow)
        self._check_width(flow, source.event_shape)
        for x, labels in source.chunks(None):
            if labels is not None:
                self._check_labels(flow, labels)
            yield x, labels

    def _source(self, flow: Flow) -> Source:
        from flowzoo.data import catalog, files

        if is_file(self.data):
            return files.open_files(
                files.expand(self.data), self._all_columns(flow), self._wants_labels(flow)
            )
        return catalog.open_dataset(
            self.data,
            self.split,
            labels=self._wants_labels(flow),
            data_dir=self.data_dir,
            download=self.download,
        )

    def _wants_labels(self, flow: Flow) -> bool:
        """Whether contexts are class labels, of a data set or of a file of images."""
        from flowzoo.data import dataset_info

        if flow.context_shape is None:
            return False
        if is_file(self.data):
            return flow.is_image and self.context is None
        (size,), classes = flow.context_shape, dataset_info(self.data).num_classes
        if size != classes:
            raise ValueError(
                f"The flow's contexts have {size} entries; {self.data} has {classes or 'no'} classes."
            )
        return True

    def _check_labels(self, flow: Flow, labels: np.ndarray) -> None:
        (size,) = flow.context_shape or (0,)
        wrong = labels[(labels < 0) | (labels >= size)]
        if wrong.size:
            raise ValueError(
                f"{self.data} has the label {wrong[0]}; the flow's contexts have {size} entries, for labels "
                f"from 0 to {size - 1}."
            )

    def _all_columns(self, flow: Flow) -> Sequence[str | int] | None:
        """The columns to read: those of x, then those of the context."""
        if self.context is None:
            if flow.context_shape is not None and is_file(self.data) and not flow.is_image:
                raise ValueError(
                    "This flow is conditional: name the columns of the context with --context-columns."
                )
            return self.columns
        if flow.context_shape is None:
            raise ValueError("This flow takes no context; leave --context-columns out.")
        columns = self.columns
        if columns is None:
            from flowzoo.data import describe_file

            columns = [c for c in describe_file(self.data).columns if c not in self.context]
        return [*columns, *self.context]

    def _check_width(self, flow: Flow, shape: Any) -> None:
        wanted = list(flow.event_shape)
        if flow.context_shape is not None and is_file(self.data) and not self._wants_labels(flow):
            wanted[-1] += flow.context_shape[0]
        if wanted == list(shape):
            return
        hint = " Choose columns with --columns." if is_file(self.data) and len(wanted) == 1 else ""
        raise ValueError(
            f"The flow takes rows of shape {tuple(wanted)}; {self.data} has rows of shape "
            f"{tuple(shape)}.{hint}"
        )

    def _split(self, flow: Flow, x: Any, labels: Any) -> Any:
        """Separates x and context; labels become one-hot vectors."""
        if flow.context_shape is None:
            return x, None
        if labels is None:
            size = flow.context_shape[0]
            return x[:, :-size], x[:, -size:]
        import tensorflow as tf

        return x, tf.one_hot(labels, flow.context_shape[0])


def make_request(
    model: str,
    data: str,
    split: str,
    columns: str | None,
    context_columns: str | None,
    data_dir: Path | None,
    download: bool,
) -> Request:
    """Makes a checked request from a command's options.

    Without `columns`, a file is read with the columns that the model was fitted to.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such data set.
    """
    chosen: Sequence[str | int] | None = parse_columns(columns)
    if chosen is None and is_file(data):
        chosen = columns_of(model)
    request = Request(data, split, chosen, parse_columns(context_columns), data_dir, download)
    request.check()
    return request


def is_file(data: str) -> bool:
    """Whether DATA means files rather than a name of the catalog."""
    from flowzoo.data import files, list_datasets

    return files.is_path(data) and data not in list_datasets()


def absolute(data: str) -> str:
    """A file's absolute path; a catalog's name as it is."""
    return os.path.abspath(os.path.expanduser(data)) if is_file(data) else data
