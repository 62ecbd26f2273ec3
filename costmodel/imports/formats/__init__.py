"""Reports and logs that tools write themselves: each module reads one of them into tidy rows."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.imports.formats import (
    ai_hub,
    litert,
    miopen,
    nn_meter,
    openvino,
    ort_profile,
    tophub,
)
from costmodel.imports.formats.form import Form

#: By name.
FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        ort_profile.FORM,
        litert.FORM,
        openvino.FORM,
        tophub.FORM,
        miopen.FORM,
        nn_meter.FORM,
        ai_hub.FORM,
    )
}


def recognise(head: str) -> Form | None:
    """The form whose start this is; None for any other file.

    >>> recognise("op,height,time_us") is None
    True
    """
    return next((form for form in FORMS.values() if form.fits(head)), None)
