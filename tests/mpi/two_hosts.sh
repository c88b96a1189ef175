#!/usr/bin/env bash
# Two hosts on one machine, network namespaces joined by `slow_cable.py`, so that ranks talk by TCP as machines do.
#
#   two_hosts.sh SECONDS COMMAND…      one rank of COMMAND on each, by Open MPI; each packet takes SECONDS; as root
set -euo pipefail
seconds=$1
shift
name=minicnn$$
folder=$(mktemp -d)
agent=$folder/agent
forget() {
    kill %1 2>/dev/null || true
    rm -r "$folder"
    ip netns del "$name-1"
    ip netns del "$name-2"
}
trap forget EXIT

for host in 1 2
do
    ip netns add "$name-$host"
    ip -n "$name-$host" link set lo up
done
python3 "$(dirname "$0")/slow_cable.py" "$seconds" "$name-1" "$name-2" >"$folder/cable" &
until grep -q ready "$folder/cable" 2>/dev/null
do
    sleep 0.1
done

# What mpiexec calls in place of ssh: agent HOST COMMAND…
printf '#!/bin/sh\nhost=$1; shift\nexec ip netns exec %s-${host##*.} unshare --uts sh -c "hostname host2; $*"\n' "$name" >"$agent"
chmod +x "$agent"
ip netns exec "$name-1" mpiexec --host 10.83.7.1:1,10.83.7.2:1 --bind-to none --prtemca plm_ssh_agent "$agent" \
    --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include 10.83.7.0/24 "$@"
