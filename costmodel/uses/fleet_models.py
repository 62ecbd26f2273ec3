"""Models of a fleet as files that can be sent to hosts, and the posts that they go with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from costmodel.fleets.engine import Post
from costmodel.fleets.messages import Order, encode
from costmodel.fleets.spec import FleetDevice
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.onnx_model.whole import whole_file
from costmodel.sizes import Sizes
from costmodel.uses.models import Model, model_files

#: The module of a job.
JOB = "costmodel.uses.fleet_job"
#: Processors of this machine, or of a host that nobody counts, that a job for a far device takes.
FAR_CPUS = 0.25
#: Where jobs have their folders on hosts, unless the file says otherwise.
WORK = "~/.cache/costmodel/fleets"
#: Files by key, and values of their open dimensions that are still to be given.
Ready = tuple[dict[str, Path], Sizes]


@contextmanager
def models_by_key(
    groups: Mapping[Any, Sequence[Model]], sizes: Mapping[Any, Sizes]
) -> Iterator[dict[Any, Ready]]:
    """Models as single files, by what asks for them; written while the body runs if need be.

    Args:
        groups: models by what asks for them, each as for ``predict``.
        sizes: values of open dimensions, by the same.

    Raises:
        InvalidInputError: for what is no model, or a size that does not fit.
        ModelFormatError: for a model that cannot be opened.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="costmodel-")))
        found: dict[Any, Ready] = {}
        for number, (key, models) in enumerate(groups.items()):
            files, left = stack.enter_context(model_files(models, sizes[key]))
            sizes_of_each(files, left)  # a size of no use is told at once
            ready = {
                str(place): whole_file(file, folder / f"{number}-{place}" / file.name)
                for place, file in enumerate(files)
            }
            found[key] = (ready, left)
        yield found


def sent(sizes: Sizes) -> dict[str, int | tuple[int, ...]]:
    """Values of open dimensions as an order holds them."""
    return {n: size if isinstance(size, int) else tuple(size) for n, size in sizes.items()}


def post_for(device: FleetDevice, order: Order, folder: str, models: Mapping[str, Path]) -> Post:
    """A job for a device.

    Args:
        device: that it is for.
        order: the first one.
        folder: the job's own, on its host.
        models: files by key.
    """
    return Post(
        module=JOB,
        order=encode(order),
        files=models,
        folder=folder,
        host=device.host,
        cpus=FAR_CPUS,
    )
