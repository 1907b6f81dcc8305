# What the commands of a document find around them, besides the programs of scripts/install-deps. Each document's script
# begins with this; tests/tests/docs/documentation.rs runs them.
set -euo pipefail

# Commands that end when a person does something meet that person: in the foreground, `couplet pair` a phone, and
# `couplet serve` a Ctrl-C once it is ready. In the background, and in a pipe, they are themselves, for `kill` too.
couplet() {
  case ${1:-} in
    pair | serve)
      [[ $BASHPID == "$$" ]] || exec couplet "$@"
      "$1_with_a_person" "$@"
      ;;
    *) command couplet "$@" ;;
  esac
}

pair_with_a_person() {
  local link pair
  link=$(mktemp)
  command couplet "$@" --link lan >"$link" &
  pair=$!
  until [[ -s $link ]]; do
    kill -0 "$pair" || { wait "$pair"; return; }
    sleep 0.05
  done
  cat "$link"
  exchange "$(<"$link")" Phone >/dev/null && wait "$pair"
}

# exchange LINK NAME: what a phone does with the link, approved by the owner if need be; prints the answer.
exchange() {
  local answer claim
  answer=$(present "$@") || return
  if claim=$(jq -re .claim <<<"$answer"); then
    command couplet approve "$2" || return
    answer=$(present "$@" "$claim") || return
  fi
  printf '%s\n' "$answer"
}

# present LINK NAME [CLAIM]: one request with the link's token.
present() {
  local address=${1#couplet://} body
  body=$(jq -n --arg token "${1#*pair=}" --arg name "$2" --arg claim "${3:-}" \
    '{pair_token: $token, device_name: $name} + if $claim == "" then {} else {$claim} end')
  curl -fsS --json "$body" "http://${address%%\?*}/api/pair/exchange"
}

serve_with_a_person() {
  local said host
  said=$(mktemp)
  command couplet "$@" 2>"$said" &
  host=$!
  until grep -q '^Next' "$said"; do
    kill -0 "$host" || { cat "$said" >&2; wait "$host"; return; }
    sleep 0.05
  done
  cat "$said" >&2
  kill -s INT "$host"
  wait "$host"
}

# The tests are root already.
sudo() { "$@"; }

# What systemd does for the services of the documents: nothing here is booted. Their user has a number and no name.
systemctl() {
  local name=${*: -1} said
  local unit=/etc/systemd/system/$name.service pid=/run/$name.pid
  case "$*" in
    daemon-reload)
      for unit in /etc/systemd/system/*.service; do
        # Unknown keys are only spoken of.
        said=$(systemd-analyze verify "$unit" 2>&1) && [[ -z $said ]] || { printf '%s\n' "$said" >&2; return 1; }
      done
      ;;
    "enable --now $name" | "start $name")
      local start environment capability
      start=$(unit_says ExecStart) environment=$(unit_says Environment)
      capability=$(unit_says AmbientCapabilities)
      capability=${capability#CAP_} capability=${capability:+-c +${capability,,}}
      unit_folder /var/lib "$(unit_says StateDirectory)" "$(unit_says StateDirectoryMode)"
      unit_folder /run "$(unit_says RuntimeDirectory)" "$(unit_says RuntimeDirectoryMode)"
      unit_runs ExecStartPre
      # As words, since a unit's lines are not a shell's.
      # shellcheck disable=SC2086
      env -i HOME=/ PATH=/usr/bin $environment setpriv --reuid 61184 --regid 61184 --clear-groups \
        ${capability//-c/--inh-caps} ${capability//-c/--ambient-caps} $start &
      echo $! >"$pid"
      until unit_answers; do
        kill -0 "$(<"$pid")" || return
        sleep 0.05
      done
      ;;
    "reload $name")
      unit_runs ExecReload && kill -0 "$(<"$pid")"
      ;;
    "stop $name")
      kill "$(<"$pid")" && wait "$(<"$pid")"
      ;;
    *)
      echo "tests/docs/prelude.sh knows no systemctl $*" >&2
      return 1
      ;;
  esac
}

# Parts of systemctl: they take its `unit`, `name` and `pid`.
unit_says() {
  sed -n "s/^$1=//p" "$unit"
}

# unit_folder PARENT NAME MODE: one of the service's own, if it has one.
unit_folder() {
  [[ -z $2 ]] || { mkdir -p -m "$3" "$1/$2" && chown -R 61184:61184 "$1/$2"; }
}

# unit_runs KEY: the commands of one kind, one after the other, as root.
unit_runs() {
  local command main=
  [[ ! -e $pid ]] || main=$(<"$pid")
  while read -r command; do
    command=${command#+}
    # shellcheck disable=SC2086
    ${command//'$MAINPID'/$main} || return
  done < <(unit_says "$1")
}

unit_answers() {
  case $name in
    couplet) command couplet devices --state-dir /var/lib/couplet ;;
    couplet-relay) command couplet relay hosts --state-dir /var/lib/couplet-relay ;;
  esac >/dev/null 2>&1
}

# block LANGUAGE DOCUMENT: the text of the document's block in this language.
block() {
  awk -v start="^\`\`\`$1\$" '$0 ~ start { on = 1; next } /^```/ { on = 0 } on' "$2"
}

# The app that documents put behind Couplet.
start_app() {
  python3 -m http.server --bind 127.0.0.1 --directory "$(mktemp -d)" 3000 >/dev/null 2>&1 &
  until curl -so /dev/null http://127.0.0.1:3000/; do sleep 0.05; done
}
