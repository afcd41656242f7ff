#!/usr/bin/env bash
# Install what the tests need besides Python, where that is possible, as root on a Debian-like system: Slurm for the
# virtual cluster, Chromium for the report's page. Anywhere else, or when the packages cannot be had, one line says why,
# and those tests skip themselves. It always succeeds: all the other tests must run on a machine without them.
set -euo pipefail

packages=(jq munge slurmctld slurmd slurm-client libpmix-dev slurmdbd slurm-wlm-mysql-plugin mariadb-server chromium)
policy=/usr/sbin/policy-rc.d # asked by Debian's package scripts whether a service may be started

give_up() {
    echo "tests: $1; what needs them will be skipped"
    exit 0
}

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The packages would start daemons of their own; the tests start private ones.
forbid_services() {
    [ -e "$policy" ] && return
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::http::Timeout=20 -o Acquire::Retries=1 \
        -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 </dev/null
}

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
        installed "$package" || missing+=("$package")
    done
else
    missing=("${packages[@]}")
fi

[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || give_up "this is no Debian-like system, missing here: ${missing[*]}"
[ "$(id -u)" -eq 0 ] || give_up "not root, so not installed: ${missing[*]}"

echo "tests: installing ${missing[*]}"
log=$(mktemp)
forbid_services
DEBIAN_FRONTEND=noninteractive dpkg --configure -a >>"$log" 2>&1 </dev/null || true # what an interrupted run left
apt update || true # the package lists of an earlier update may do
if ! apt install -y --no-install-recommends "${missing[@]}"; then
    reason=$(grep -m 1 '^E:' "$log" || tail -n 1 "$log")
    rm -f "$log"
    give_up "apt-get could not install ${missing[*]} (${reason:-no reason given})"
fi
rm -f "$log"
