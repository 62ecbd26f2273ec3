# Sourced by scripts/demo and scripts/test: one .venv, installed from the constraints file.

# Prints the newest usable Python, or says what is missing.
find_python() {
  local name
  for name in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 &&
      "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  echo "No Python >= 3.11 with the venv module was found. Install one, or name it: PYTHON=/path/to/python $0" >&2
  return 1
}

# make_venv EXTRA...: makes .venv with this package and these extras, if it has not got them yet.
make_venv() {
  local python extras stamp wanted
  extras=$(IFS=,; echo "$*")
  stamp=.venv/.installed-$(echo "$extras" | tr ',' '-')
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv
  fi
  wanted=$(cat pyproject.toml constraints.txt | cksum)
  if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    echo "Installing costmodel[$extras] into .venv (the first time takes a minute or two) ..." >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --constraint constraints.txt --editable ".[$extras]"
    echo "$wanted" >"$stamp"
  fi
}
