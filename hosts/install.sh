#!/bin/sh
# Makes this machine a host of Gantry: fetches the agent from the control plane, enrols, keeps it running.
# Needs python3 (3.11 or newer): no pip, no compiler, no internet beyond the control plane.
#
#   sh install.sh TOKEN [--name NAME] [--engine native|unix:///path] [--prefix DIR] [--state DIR] [--no-service]
#
# Where neither Docker nor Podman answers, Gantry's native engine runs; the packages it needs are installed with
# apt-get, unless GANTRY_INSTALL=no.
set -eu

url=@URL@
fingerprint=@FINGERPRINT@

say() { printf 'gantry: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 </dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed (Debian 12, Ubuntu 24.04 and later have it: apt-get install python3)."
}

# Fetches the wheels for this machine over the checked connection, checks their digests, unpacks them.
fetch_agent() {
    "$python" - "$url" "$fingerprint" "$1" <<'PYTHON'
import hashlib, http.client, io, json, os, platform, re, ssl, sys, time, urllib.parse, zipfile

base, fingerprint, target = sys.argv[1:4]
address = urllib.parse.urlsplit(base)


def fail(message):
    sys.exit("gantry: " + message)


def connect():
    if address.scheme == "http":
        return http.client.HTTPConnection(address.hostname, address.port or 80, timeout=60)
    # With a pin the certificate itself is the identity; without one the system's authorities vouch for it.
    context = ssl._create_unverified_context() if fingerprint else ssl.create_default_context()
    made = http.client.HTTPSConnection(address.hostname, address.port or 443, timeout=60, context=context)
    made.connect()
    if fingerprint:
        found = hashlib.sha256(made.sock.getpeercert(True)).hexdigest()
        if found != fingerprint.removeprefix("sha256:"):
            fail("the certificate is not the one of this Gantry: somebody answers in its place")
    return made


def fetch(path):
    connection = connect()
    connection.request("GET", address.path + path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def get(path):
    answer, content = fetch(path)
    for attempt in range(60):
        if answer.status != 503 or "Retry-After" not in answer.headers:
            break
        if attempt == 0:
            print("gantry: the control plane is still collecting the agent's packages; waiting", file=sys.stderr)
        time.sleep(2)
        answer, content = fetch(path)
    if answer.status != 200:
        try:
            said = json.loads(content)
            fail(said["message"] + " " + said.get("hint", ""))
        except (ValueError, KeyError, TypeError):
            fail("%s%s answered %d" % (base, path, answer.status))
    return content


def fits(name):
    """2 for a compiled wheel of this machine, 1 for a pure one, 0 for another's (PEP 425, PEP 600)."""
    python, abi, tags = name.removesuffix(".whl").split("-")[-3:]
    if tags == "any":
        return 1
    own = "cp%d%d" % sys.version_info[:2]
    if python != own and not (abi == "abi3" and int(python.split(".")[0][3:]) <= sys.version_info[1]):
        return 0
    libc = tuple(int(part) for part in re.findall(r"\d+", platform.libc_ver()[1])[:2])
    for tag in tags.split("."):
        legacy = {"manylinux1": "2_5", "manylinux2010": "2_12", "manylinux2014": "2_17"}
        for old, new in legacy.items():
            tag = tag.replace(old + "_", "manylinux_" + new + "_")
        match = re.fullmatch(r"manylinux_(\d+)_(\d+)_(\w+)", tag)
        if match and match[3] == platform.machine() and (int(match[1]), int(match[2])) <= libc:
            return 2
    return 0


best = {}
for entry in json.loads(get("/agent/wheels/?format=json"))["files"]:
    worth = fits(entry["name"])
    if worth > best.get(entry["project"], (0,))[0]:
        best[entry["project"]] = (worth, entry)
    else:
        best.setdefault(entry["project"], (0, entry))
for project, (worth, entry) in sorted(best.items()):
    if not worth:
        fail("no %s for Python %s on %s with glibc" % (project, platform.python_version(), platform.machine()))
    content = get("/agent/wheels/" + urllib.parse.quote(entry["name"]))
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        fail(entry["name"] + " arrived damaged")
    zipfile.ZipFile(io.BytesIO(content)).extractall(target)
PYTHON
}

install_agent() {
    mkdir -p "$prefix/bin"
    rm -rf "$prefix/lib.new"
    mkdir "$prefix/lib.new"
    fetch_agent "$prefix/lib.new"
    rm -rf "$prefix/lib.old"
    if [ -d "$prefix/lib" ]; then mv "$prefix/lib" "$prefix/lib.old"; fi
    mv "$prefix/lib.new" "$prefix/lib"
    rm -rf "$prefix/lib.old"
    program="$prefix/bin/gantry-agent"
    {
        printf '#!%s -I\n' "$python"
        printf 'import sys\nsys.path.insert(0, "%s/lib")\n' "$prefix"
        printf 'from gantry_agent.cli import main\nsys.exit(main())\n'
    } >"$program.new"
    chmod 755 "$program.new"
    mv "$program.new" "$program"
}

# Without them the agent runs all the same, says what is missing, and starts the engine once it is there.
install_parts() {
    lacking=$("$program" parts --engine "$engine" </dev/null)
    if [ -z "$lacking" ]; then return; fi
    if [ "$(id -u)" = 0 ] && [ "${GANTRY_INSTALL:-}" != no ] && command -v apt-get >/dev/null 2>&1; then
        say "No Docker or Podman answers here; installing what Gantry's own engine needs: $lacking"
        wait_less="-o Dpkg::Use-Pty=0 -o Acquire::http::Timeout=20 -o Acquire::Retries=0 -o DPkg::Lock::Timeout=120"
        # shellcheck disable=SC2086
        { apt-get update -qq $wait_less; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends $wait_less $lacking; } >&2 </dev/null || true
        lacking=$("$program" parts --engine "$engine" </dev/null)
    fi
    if [ -z "$lacking" ]; then return; fi
    say "Gantry's own container engine runs as root and wants these packages, which are not here: $lacking"
}

stop_running() {
    pid=$("$python" -c 'import json,sys; print(json.load(open(sys.argv[1]))["pid"])' "$state/status.json" \
        2>/dev/null </dev/null || true)
    if [ -n "$pid" ] && grep -qs gantry "/proc/$pid/cmdline"; then kill "$pid" 2>/dev/null || true; fi
}

keep_running() {
    if [ "$service" = yes ] && [ "$(id -u)" = 0 ] && [ -d /run/systemd/system ]; then
        "$program" unit --program "$program" --state "$state" --engine "$engine" \
            >/etc/systemd/system/gantry-agent.service </dev/null
        systemctl daemon-reload </dev/null
        systemctl enable --quiet gantry-agent.service </dev/null
        systemctl restart gantry-agent.service </dev/null
        say "The agent runs as the systemd service gantry-agent."
        return
    fi
    stop_running
    set -- run --state "$state"
    if [ -n "$engine" ]; then set -- "$@" --engine "$engine"; fi
    # shellcheck disable=SC2086
    setsid nohup "$program" "$@" >>"$state/agent.log" 2>&1 </dev/null &
    say "The agent runs in the background (log: $state/agent.log). There is no systemd here to start it again"
    say "after a reboot: have your own service manager run:  $program $*"
}

main() {
    token= name= engine= service=yes
    if [ "$(id -u)" = 0 ]; then
        prefix=/opt/gantry-agent state=/var/lib/gantry-agent
    else
        prefix=${XDG_DATA_HOME:-$HOME/.local/share}/gantry-agent
        state=${XDG_STATE_HOME:-$HOME/.local/state}/gantry-agent
    fi
    while [ $# -gt 0 ]; do
        case $1 in
            --name) name=$2; shift ;;
            --engine) engine=$2; shift ;;
            --prefix) prefix=$2; shift ;;
            --state) state=$2; shift ;;
            --no-service) service=no ;;
            -*) fail "unknown option $1" ;;
            *) token=$1 ;;
        esac
        shift
    done
    [ -n "$token" ] || fail "Expected the token that “Add host” showed."
    case $(uname -s) in Linux) ;; *) fail "Linux is needed, this is $(uname -s)." ;; esac
    python=$(find_python)
    say "Fetching the agent from $url"
    install_agent
    set -- enrol --url "$url" --token "$token" --state "$state" --replace
    if [ -n "$fingerprint" ]; then set -- "$@" --fingerprint "$fingerprint"; fi
    if [ -n "$name" ]; then set -- "$@" --name "$name"; fi
    "$program" "$@" </dev/null
    install_parts
    keep_running
}

# The last line, so that a script cut off on its way does nothing.
main "$@"
