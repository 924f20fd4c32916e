# shellcheck shell=sh
# Sourced by data/quickstart.sh and tests/run.sh.
#
# need_packages NAME...: installs the Debian packages among them that are missing; without the right to do so, says
# which they are and exits. On another system it does nothing: the build then names what it lacks.
need_packages() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0
    missing=
    for package; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "$0: missing packages; as root: apt-get install$missing" >&2
        exit 69
    fi
    echo "Installing$missing"
    apt-get update -q >&2 || return
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2
}
