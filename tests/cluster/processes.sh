# shellcheck shell=bash
# Processes that outlive the script that starts them, and are ended by another. To be sourced; $dir holds their ids and logs.

# spawn NAME COMMAND…: in a session of its own. The start time is kept with the id, so that no other process that later
# gets the same id is ever signalled.
spawn() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/log/$name" 2>&1 &
    echo "$! $(start_time $!)" >"$dir/pids/$name"
}

start_time() {
    # Field 22 of proc_pid_stat(5); a zombie counts as ended.
    awk '$3 != "Z" { print $22 }' "/proc/$1/stat" 2>/dev/null
}

is_running() {
    local id time
    [[ -e $dir/pids/$1 ]] || return 1
    read -r id time <"$dir/pids/$1"
    [[ -n $time && $(start_time "$id") == "$time" ]]
}

# send SIGNAL NAME
send() {
    local id
    is_running "$2" || return 0
    read -r id _ <"$dir/pids/$2"
    kill "-$1" "$id"
}

end() {
    local tries
    send TERM "$1"
    send CONT "$1"
    for ((tries = 0; tries < 50; tries++)); do
        is_running "$1" || break
        sleep 0.1
    done
    send KILL "$1"
    rm -f "$dir/pids/$1"
}

# wait_for SECONDS COMMAND…: asks until the answer is yes.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > until)); then
            echo "not within the time: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}
