from __future__ import annotations

import pytest

from costmodel import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidInputError, ValueError),
        (errors.TableFormatError, ValueError),
        (errors.ModelFormatError, ValueError),
        (errors.DeviceMismatchError, ValueError),
        (errors.UnsupportedOpError, ValueError),
        (errors.LockedError, RuntimeError),
        (errors.MissingDependencyError, ImportError),
        (errors.RemoteError, ConnectionError),
        (errors.LinkLostError, ConnectionError),
    ],
)
def test_each_error_is_caught_as_one_family_and_as_its_builtin(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(kind, errors.CostModelError)
    assert issubclass(kind, builtin)


def test_a_missing_package_names_the_extra_to_install() -> None:
    error = errors.MissingDependencyError("keras", "keras", "Reading a .keras file")
    expected = (
        "Reading a .keras file needs the package 'keras', which is not installed. "
        "Install it with: pip install 'morphnet-latency[keras]'"
    )
    assert expected == str(error)
