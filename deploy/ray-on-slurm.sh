#!/bin/bash
# A Ray cluster inside one Slurm job, for `cisray submit`: a head without work, and a worker on every node.
#
#   ray get-auth-token --generate && chmod 600 ~/.ray/auth_token    # once, in your shared home
#   sbatch deploy/ray-on-slurm.sh -- score genome --model ... --fasta ... --out ... \
#       --workers 8 --num-gpus 1 --device cuda
#
# The command runs when all nodes are up; the cluster goes when it ends. After a time limit or a lost node
# the same sbatch line goes on where the run stopped. Change the lines of #SBATCH to your site's.

#SBATCH --job-name=cisray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --output=cisray-%j.log

set -euo pipefail

# An environment that all nodes see, with: pip install 'cisray[cluster]'
source "${CISRAY_VENV:?set CISRAY_VENV to a virtual environment on a shared file system}/bin/activate"

# Where models, genomes and runs lie, seen by all nodes; several with ":" between.
export CISRAY_CLUSTER_PATHS="${CISRAY_CLUSTER_PATHS:?set CISRAY_CLUSTER_PATHS to the shared file system}"

# Other users of the nodes reach Ray's ports: without the token those answer nothing.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Two jobs of yours on one node must not meet: ports and folders of their own. Sockets need short names.
export RAY_TMPDIR="/tmp/ray-${SLURM_JOB_ID}"
srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --overlap mkdir -p "$RAY_TMPDIR"
base=$((20000 + SLURM_JOB_ID % 12000)) # above those of Ray's workers, below those the system gives out
port=$base dashboard=$((base + 1)) client=$((base + 2))

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# As the other nodes see it: a name may lead a node to its own loopback.
ip=$(srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" hostname -I | awk '{print $1}')
address="$ip:$port"

# The first task of the job's first node is the head; --block keeps it in Slurm's hands.
srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
    ray start --head --block --num-cpus=0 --num-gpus=0 --node-ip-address="$ip" --port="$port" \
    --ray-client-server-port="$client" --dashboard-host=127.0.0.1 --dashboard-port="$dashboard" &

until ray status --address "$address" >/dev/null 2>&1; do
    kill -0 $! # the head has died: so does this script
    sleep 2
done

srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --overlap \
    ray start --block --address="$address" --dashboard-agent-listen-port=0 \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" &

# This script runs on the first node as well, so the head's loopback is its own.
[ "${1:-}" = "--" ] && shift
cisray submit --address "http://127.0.0.1:$dashboard" -- "$@"
