# shellcheck shell=bash
# Sourced by scripts/demo and scripts/test: one .venv, installed from the constraints file.

# Packages are compiled when they are first imported, and kept for the many processes to come: where
# the environment forbids that, every one of them would compile TensorFlow again, for 8 seconds.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$PWD/.venv/pycache"

# Whether $1 is a Python that can make a virtual environment with pip in it.
# Debian's python3 has venv but not ensurepip until python3-venv is installed.
usable_python() {
  command -v "$1" >/dev/null 2>&1 &&
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Prints the Python to use, or says what is missing. The interpreters that constraints.txt was
# made for come first; a python3 that is newer may lack wheels of some package.
find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    if usable_python "$PYTHON"; then
      command -v "$PYTHON"
      return
    fi
    echo "PYTHON=$PYTHON is not a Python >= 3.11 with the venv and ensurepip modules." >&2
    return 1
  fi
  for name in python3.13 python3.12 python3.11 python3 python; do
    if usable_python "$name"; then
      command -v "$name"
      return
    fi
  done
  echo "No Python >= 3.11 with the venv and ensurepip modules was found (on Debian and Ubuntu:" \
    "apt install python3-venv). Install one, or name it: PYTHON=/path/to/python $0" >&2
  return 1
}

# make_venv EXTRA...: makes .venv with this package and these extras, if it has not got them yet.
# What a stopped run has left half made is made whole.
make_venv() {
  local python extras stamp wanted
  extras=$(IFS=,; echo "$*")
  stamp=.venv/.installed-$(echo "$extras" | tr ',' '-')
  if ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..." >&2
    "$python" -m venv --clear .venv
  elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    .venv/bin/python -m ensurepip --upgrade >/dev/null  # stopped halfway, or made without pip
  fi
  wanted=$(cat pyproject.toml constraints.txt | cksum)
  if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    echo "Installing morphnet-latency[$extras] into .venv (the first time takes a minute or two) ..." >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
      --constraint constraints.txt --editable ".[$extras]"
    echo "$wanted" >"$stamp"
  fi
}
