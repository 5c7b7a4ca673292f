# shellcheck shell=bash
# Who has which address. To be sourced.

# Where nodes and Pods reach the API server: the bridge that joins the nodes.
api_address=${API_ADDRESS:-10.243.0.1}
pod_cidr=${POD_CIDR:-10.244.0.0/16}

node_name() { echo "vestibule-node-$1"; }
node_address() { echo "${api_address%.*}.$((10 + $1))"; }
pod_subnet() { echo "${pod_cidr%.*.*}.$1.0/24"; }
