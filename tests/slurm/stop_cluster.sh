#!/usr/bin/env bash
# Stops the daemons that start_cluster.sh starts, in the opposite order, each by its process id.
set -uo pipefail
for daemon in slurm/slurmd slurm/slurmctld slurm/slurmdbd; do
  file=/run/$daemon.pid
  [ -s "$file" ] || continue
  id=$(cat "$file")
  kill "$id" 2>/dev/null
  for _ in $(seq 100); do kill -0 "$id" 2>/dev/null || break; sleep 0.1; done
done
timeout 20 mysqladmin shutdown 2>/dev/null
[ -s /run/munge/munged.pid ] && kill "$(cat /run/munge/munged.pid)" 2>/dev/null
exit 0
